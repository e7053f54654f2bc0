// A form with data-preview="URL" and data-preview-into="ID" shows what it would do while somebody types: its fields
// go to the URL, and the fragment that comes back stands in the element. Without scripts its button does the same.
// What the fragment marks with data-preview-said is read out: [data-preview-say] is there before and says it.
for (const form of document.querySelectorAll("form[data-preview]")) {
  const place = document.getElementById(form.dataset.previewInto);
  const voice = document.querySelector("[data-preview-say]");
  let timer = 0;
  let newest = 0;

  async function show() {
    const mine = ++newest;
    place.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(form.dataset.preview, {
        method: "POST",
        body: new FormData(form),
        headers: { "X-Preview": "1" },
        redirect: "manual",
      });
      const fragment = await answer.text();
      // An answer that was overtaken by a later one is old news; an error page is no fragment.
      if (mine !== newest || !(answer.ok || answer.status === 400)) return;
      place.innerHTML = fragment;
      if (voice) voice.textContent = place.querySelector("[data-preview-said]")?.textContent ?? "";
    } catch {
      // The server can't be reached: what stands there is left, and saving says why.
    } finally {
      if (mine === newest) place.removeAttribute("aria-busy");
    }
  }

  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(show, 300);
  });
  // What was typed before this script came, or was restored by the browser, counts as well.
  const fields = [...form.querySelectorAll("textarea, input:not([type=checkbox], [type=radio])")];
  if (fields.some((field) => field.value !== field.defaultValue)) show();
}
