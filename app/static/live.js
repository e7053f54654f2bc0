// Keeps a page fresh without a reload: <body data-refresh-seconds="30"> asks for the page anew, and each element
// with data-live and an id is replaced by its newer self. While somebody is in it, it is left alone. data-refresh-url
// names another page to take them from. When a newer page asks for no more refreshing, there is none.
const seconds = Number(document.querySelector("[data-refresh-seconds]")?.dataset.refreshSeconds);
const lost = document.querySelector("[data-live-lost]");
const source = document.querySelector("[data-refresh-url]")?.dataset.refreshUrl;
const told = document.querySelector("[data-live-told]");
const PATIENCE_MILLISECONDS = 20000;
let asking = false;
let timer = 0;

function isInUse(part) {
  const active = document.activeElement;
  const isTyping = part.contains(active) && active.matches("input, select, textarea");
  const marked = getSelection();
  const isMarking = !marked.isCollapsed && part.contains(marked.anchorNode);
  return isTyping || isMarking || part.querySelector("dialog[open], details[open][data-keep-open]");
}

// A part that is not there yet has no place here: the page has become another one, as with the first backup.
function hasMoreParts(newer) {
  const isTyping = document.activeElement?.matches("input, select, textarea");
  return !isTyping && [...newer.querySelectorAll("[data-live]")].some((each) => !document.getElementById(each.id));
}

// Focus goes to the element at the same place, if the newer part has it.
function replace(part, newer) {
  if (part.outerHTML === newer.outerHTML) return;
  const active = part.contains(document.activeElement) ? document.activeElement : null;
  const links = active ? [...part.querySelectorAll("a, button, summary")] : [];
  const place = links.indexOf(active);
  const href = active?.getAttribute("href");
  for (const each of part.querySelectorAll("details[id][open]")) {
    newer.querySelector(`#${CSS.escape(each.id)}`)?.setAttribute("open", "");
  }
  part.replaceWith(newer);
  if (!active) return;
  const candidates = [...newer.querySelectorAll("a, button, summary")];
  const same = href ? candidates.find((each) => each.getAttribute("href") === href) : candidates[place];
  same?.focus({ preventScroll: true });
}

async function refresh() {
  if (!timer || asking || document.hidden) return;
  asking = true;
  try {
    const signal = AbortSignal.timeout(PATIENCE_MILLISECONDS);
    const answer = await fetch(source ?? location.href, { headers: { "X-Refresh": "1" }, redirect: "manual", signal });
    // The session is over, or what this page shows is gone: the server's own page says so.
    // But a page that shows something once, and so takes its news from another, must not be loaded again.
    if (!source && (answer.type === "opaqueredirect" || answer.status === 404)) return location.reload();
    if (!answer.ok) throw new Error(String(answer.status));
    const newer = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!source && hasMoreParts(newer)) return location.reload();
    for (const part of document.querySelectorAll("[data-live]")) {
      const twin = newer.getElementById(part.id);
      if (twin && !isInUse(part)) replace(part, document.importNode(twin, true));
    }
    if (told && newer.title !== document.title) told.textContent = newer.title;
    if (newer.title) document.title = newer.title;
    if (lost) lost.hidden = true;
    if (!newer.querySelector("[data-refresh-seconds]")) {
      clearInterval(timer);
      timer = 0;
    }
    document.dispatchEvent(new CustomEvent("refreshed"));
  } catch {
    if (lost) lost.hidden = false;
  } finally {
    asking = false;
  }
}

if (seconds > 0) {
  timer = setInterval(refresh, seconds * 1000);
  document.addEventListener("visibilitychange", refresh);
  window.addEventListener("online", refresh);
}
