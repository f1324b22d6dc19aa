// The page's script: readiness, and the last events of a channel. Foreign text becomes text nodes, never markup.
"use strict";

const LINES_MAX = 100;
const byId = (id) => document.getElementById(id);
let source = null;

async function showParts() {
  const answer = await fetch("/health/ready");
  byId("parts").textContent = JSON.stringify(await answer.json());
}

function addLine(text) {
  const line = document.createElement("li");
  line.textContent = text;
  const tail = byId("tail");
  tail.prepend(line);
  while (tail.children.length > LINES_MAX) tail.lastChild.remove();
}

function follow() {
  if (source) source.close();
  const channel = encodeURIComponent(byId("channel").value);
  source = new EventSource(`/v1/stream?channel=${channel}&recent=10&event=message`);
  source.onopen = () => { byId("state").textContent = "connected"; };
  source.onerror = () => { byId("state").textContent = "not connected"; };
  source.onmessage = (event) => addLine(event.data);
  source.addEventListener("unrecoverable", (event) => addLine(`lost: ${event.data}`));
}

byId("follow").addEventListener("click", follow);
showParts();
follow();
