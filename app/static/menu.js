// On a narrow screen the menu of the settings is one row that scrolls: where somebody is comes into sight.
const here = document.querySelector(".menu [aria-current]");
const row = here?.closest("nav");
if (row) row.scrollLeft = here.offsetLeft - (row.clientWidth - here.clientWidth) / 2;
