// A JSON value as a tree that folds. Branches are made when they are opened; text nodes only.

import { Exact } from "./event.js";

const CHILDREN = 100;
const TEXT_CHARS = 2000;

export function tree(value, isOpen = true) {
  const root = element("div", "tree");
  root.append(node(null, value, isOpen ? 2 : 0));
  return root;
}

function node(name, value, levelsOpen) {
  const isBranch = value !== null && typeof value === "object" && !(value instanceof Exact);
  if (!isBranch) return leaf(name, value);
  const isArray = Array.isArray(value);
  const count = isArray ? value.length : Object.keys(value).length;
  if (count === 0) return leaf(name, value, isArray ? "[]" : "{}");
  const branch = element("details", "branch");
  const summary = element("summary");
  const noun = isArray ? (count === 1 ? "element" : "elements") : count === 1 ? "member" : "members";
  summary.append(...label(name), element("span", "count", `${isArray ? "[ ]" : "{ }"} ${count} ${noun}`));
  branch.append(summary);
  const fill = () => {
    if (branch.childElementCount > 1) return;
    branch.append(children(isArray ? value.entries() : Object.entries(value)[Symbol.iterator](), count, levelsOpen - 1));
  };
  if (levelsOpen > 0) {
    fill();
    branch.open = true;
  }
  branch.addEventListener("toggle", fill);
  return branch;
}

function children(entries, left, levelsOpen) {
  const list = element("div", "children");
  const more = element("button", "quiet");
  more.type = "button";
  const add = () => {
    const batch = document.createDocumentFragment();
    for (let count = 0; count < CHILDREN && left > 0; count += 1, left -= 1) {
      const [name, value] = entries.next().value;
      batch.append(node(String(name), value, levelsOpen));
    }
    more.remove();
    list.append(batch);
    more.textContent = `${left} more`;
    if (left > 0) list.append(more);
  };
  more.addEventListener("click", add);
  add();
  return list;
}

function leaf(name, value, shown) {
  const line = element("div", "leaf");
  const text = shown ?? (value instanceof Exact ? value.digits : JSON.stringify(value) ?? String(value));
  const kind = value instanceof Exact ? "number" : value === null ? "null" : typeof value;
  const span = element("span", `value ${shown ? "count" : kind}`, text.slice(0, TEXT_CHARS));
  line.append(...label(name), span);
  if (text.length > TEXT_CHARS) {
    const all = element("button", "quiet", `all ${text.length} characters`);
    all.type = "button";
    all.addEventListener("click", () => {
      span.textContent = text;
      all.remove();
    });
    line.append(all);
  }
  return line;
}

function label(name) {
  return name === null ? [] : [element("span", "name", name), ": "];
}

function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}
