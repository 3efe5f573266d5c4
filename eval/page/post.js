
/* Questions to the server of eval/page_server.py */
async function post(name, body) {
  let answer;
  try {
    answer = await fetch(`/api/${name}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  } catch {
    throw new Error("The server does not answer. Start it again and reload this page: the game goes on.");
  }
  const found = await answer.json().catch(() => ({ error: "The server failed; its terminal says why." }));
  if (found.error) throw new Error(found.error);
  return found;
}
