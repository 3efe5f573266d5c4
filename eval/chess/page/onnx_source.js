
/* The source of rules and values in the browser: worker.js, with the model and chess.js */
const NO_WORKER = "The page cannot start worker.js: open it from a server of files, in a current browser.";
const waiting = new Map();
let asked = 0, worker = null;
try {
  worker = new Worker("worker.js", { type: "module" });
  worker.onmessage = ({ data: { id, result, error } }) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error) reject(new Error(error));
    else resolve(result);
  };
  worker.onerror = () => {
    worker = null;
    for (const { reject } of waiting.values()) reject(new Error(NO_WORKER));
  };
} catch {} // a page that is opened as a file may start none
function ask(name, body) {
  if (!worker) throw new Error(NO_WORKER);
  return new Promise((resolve, reject) => {
    waiting.set(++asked, { resolve, reject });
    worker.postMessage({ id: asked, name, body, network: data.network });
  });
}
const source = { position: async (body) => ask("position", body), pgn: async (body) => ask("pgn", body) };
