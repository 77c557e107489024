// Keeps a page as fresh as the server: every second, what is marked with data-live is taken anew.
"use strict";

const EVERY_MS = 1000;
const line = document.getElementById("live");
line.hidden = false;
const [isLive, told] = [line.querySelector("input"), line.querySelector("span")];

function tell(text) {
  if (told.textContent !== text) told.textContent = text;
}

// What somebody reads or works in stays as it is: selected text, an open menu, a focused field.
function isInUse(element) {
  const selection = getSelection();
  const focused = document.activeElement;
  return (
    (!selection.isCollapsed && selection.containsNode(element, true)) ||
    (element.contains(focused) && focused.matches("input, select, pre"))
  );
}

function replace(old, fresh) {
  if (old.innerHTML === fresh.innerHTML || isInUse(old)) return;
  const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
  for (const open of old.querySelectorAll("details[open]")) {
    fresh.querySelector(`#${CSS.escape(open.id)}`)?.setAttribute("open", "");
  }
  if (old.innerHTML === fresh.innerHTML) return;
  old.innerHTML = fresh.innerHTML;
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

async function refresh() {
  const response = await fetch(location.href);
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const old of document.querySelectorAll("[data-live]")) {
    const found = fresh.getElementById(old.id);
    if (found) replace(old, found);
  }
}

async function keepFresh() {
  if (isLive.checked && !document.hidden) {
    try {
      await refresh();
      tell("");
    } catch {
      tell("The server does not answer.");
    }
  }
  setTimeout(keepFresh, EVERY_MS);
}

setTimeout(keepFresh, EVERY_MS);
