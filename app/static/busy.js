// A check may take seconds: the button says so, and a second click sends nothing.
for (const form of document.querySelectorAll("form[data-busy]")) {
  form.addEventListener("submit", () => {
    const button = form.querySelector("button");
    button.textContent = form.dataset.busy;
    button.disabled = true;
  });
}
// Back from the browser's cache a page must not stay busy.
window.addEventListener("pageshow", (event) => {
  if (event.persisted) window.location.reload();
});
