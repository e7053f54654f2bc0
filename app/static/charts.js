// Draws the figures of a job's runs. The page names the address of the series, the viewer's language and zone; each
// .plot names its unit and the columns it shows. What a picture says stands in words beside it, and in its label.
const box = document.querySelector("[data-series]");
// Plain English is written as the rest of the page writes it, with the day before the month.
const locale = box.dataset.locale === "en" ? "en-GB" : box.dataset.locale;
const zone = box.dataset.zone;
const HEIGHT = 170;
const DAY = 86400;
const named = (unit, unitDisplay) => new Intl.NumberFormat(locale, { style: "unit", unit, unitDisplay, maximumFractionDigits: 1 });
const SIZES = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte", "petabyte"].map((unit) => named(unit, "short"));
const DAYS = named("day", "narrow").formatToParts(1).find((part) => part.type === "unit").value.trim();
const COLON = locale.startsWith("fr") ? "\u00a0: " : ": ";
const wholes = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat(locale, { notation: "compact", maximumFractionDigits: 1 });
const dates = (options) => new Intl.DateTimeFormat(locale, { timeZone: zone, ...options });
const moment = dates({ weekday: "short", day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });
const steps = [
  [300 * DAY, dates({ year: "numeric" })],
  [27 * DAY, dates({ month: "short", year: "numeric" })],
  [DAY, dates({ day: "numeric", month: "short" })],
  [0, dates({ hour: "2-digit", minute: "2-digit" })],
];

function bytes(value) {
  let unit = 0;
  while (Math.abs(value) >= 1000 && unit < SIZES.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return SIZES[unit].format(value);
}

// The largest two parts that matter, as everywhere on the page.
function seconds(value) {
  const whole = Math.round(value);
  const parts = [[Math.floor(whole / DAY), DAYS], [Math.floor(whole / 3600) % 24, "h"], [Math.floor(whole / 60) % 60, "min"], [whole % 60, "s"]];
  const first = parts.findIndex(([count]) => count > 0);
  if (first < 0) return "0 s";
  return parts.slice(first, first + 2).filter(([count]) => count > 0).map(([count, unit]) => `${count} ${unit}`).join(" ");
}

const UNIT = {
  bytes: { text: bytes, tick: bytes },
  seconds: { text: seconds, tick: seconds, steps: [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, DAY, 2 * DAY, 7 * DAY] },
  count: { text: (value) => wholes.format(value), tick: (value) => (value < 10000 ? wholes.format(value) : short.format(value)), steps: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7, 1e8, 1e9] },
};

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// Sums begin at nought. A size may not, but a change of a few per cent never looks like a leap.
function range(fromNought) {
  return (_plot, least, most) => {
    if (least == null) return [0, 1];
    if (fromNought) return [0, most > 0 ? most * 1.1 : 1];
    const air = Math.max((most - least) * 0.15, most * 0.05, 1);
    return [Math.max(0, least - air), most + air];
  };
}

function crosses(good) {
  return (plot) => {
    const { ctx, bbox } = plot;
    const reach = 3.5 * devicePixelRatio;
    const y = bbox.top + bbox.height - reach - 2;
    ctx.save();
    ctx.strokeStyle = colour("--bad");
    ctx.lineWidth = 2 * devicePixelRatio;
    ctx.setLineDash([]);
    ctx.beginPath();
    good.forEach((isGood, number) => {
      const x = plot.valToPos(plot.data[0][number], "x", true);
      if (isGood || x < bbox.left || x > bbox.left + bbox.width) return;
      ctx.moveTo(x - reach, y - reach);
      ctx.lineTo(x + reach, y + reach);
      ctx.moveTo(x + reach, y - reach);
      ctx.lineTo(x - reach, y + reach);
    });
    ctx.stroke();
    ctx.restore();
  };
}

function line(tag, text, name) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (name) made.className = name;
  return made;
}

function tooltip(figures, unit, good) {
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  return {
    init: (plot) => plot.over.append(tip),
    setCursor: (plot) => {
      const number = plot.cursor.idx;
      tip.hidden = number == null || plot.cursor.left < 0;
      if (tip.hidden) return;
      const told = figures.map(([, label], column) => [label, plot.data[column + 1][number]]).filter(([, value]) => value != null);
      tip.replaceChildren(
        line("b", moment.format(plot.data[0][number] * 1000)),
        ...told.map(([label, value]) => line("div", `${label}${COLON}${unit.text(value)}`)),
        ...(good[number] ? [] : [line("div", box.dataset.notGood, "not-good")]),
      );
      const left = plot.valToPos(plot.data[0][number], "x");
      const isRight = left > plot.over.clientWidth / 2;
      tip.style.left = isRight ? "auto" : `${left + 10}px`;
      tip.style.right = isRight ? `${plot.over.clientWidth - left + 10}px` : "auto";
    },
  };
}

function axes(unit) {
  const common = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
  const format = (step) => steps.find(([least]) => step >= least)[1];
  return [
    { ...common, size: 30, gap: 8, space: 64, grid: { show: false }, values: (_plot, splits, _axis, _space, step) => splits.map((at) => format(step).format(at * 1000)) },
    { ...common, size: 64, gap: 4, space: 32, ...(unit.steps && { incrs: unit.steps }), values: (_plot, splits) => splits.map((value) => unit.tick(value)) },
  ];
}

function draw(place, series) {
  const unit = UNIT[place.dataset.unit];
  const figures = JSON.parse(place.dataset.figures);
  const isBars = place.dataset.style === "bars";
  const strokes = [colour("--accent"), colour("--late")];
  const hooks = tooltip(figures, unit, series.good);
  const options = {
    width: place.clientWidth,
    height: HEIGHT,
    padding: [8, 8, 0, 0],
    tzDate: (at) => uPlot.tzDate(new Date(at * 1000), zone),
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
    scales: { y: { range: range(isBars || place.dataset.unit === "seconds") } },
    axes: axes(unit),
    series: [
      {},
      ...figures.map(([, label], number) => ({
        label,
        stroke: strokes[number],
        width: isBars ? 1 : 2,
        spanGaps: true,
        ...(number && { dash: [6, 4] }),
        ...(isBars && { fill: strokes[number], paths: uPlot.paths.bars({ size: [0.7, 10] }), points: { show: false } }),
        ...(!isBars && { points: { show: series.endedAt.length < 8, size: 5 } }),
      })),
    ],
    hooks: { init: [hooks.init], setCursor: [hooks.setCursor], draw: [crosses(series.good)] },
  };
  // A run that failed examined nothing: the cross says so, and the line does not fall to nought.
  const isLine = !isBars && place.dataset.unit !== "seconds";
  const known = (value, number) => (isLine && value === 0 && !series.good[number] ? null : value);
  const data = [series.endedAt, ...figures.map(([name]) => series[name].map(known))];
  return new uPlot(options, data, place);
}

async function begin() {
  document.querySelector("[data-no-pictures]").hidden = true;
  const answer = await fetch(box.dataset.series, { redirect: "manual" });
  if (!answer.ok) throw new Error(String(answer.status));
  const series = await answer.json();
  const places = [...box.querySelectorAll(".plot")];
  let plots = [];
  const drawAll = () => {
    plots.forEach((plot) => plot.destroy());
    plots = places.map((place) => draw(place, series));
  };
  places.forEach((place) => place.classList.add("drawn"));
  drawAll();
  document.querySelector("[data-failed-key]").hidden = series.good.every(Boolean);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  const resized = new ResizeObserver(() => {
    plots.forEach((plot, number) => {
      const width = places[number].clientWidth;
      if (width && width !== plot.width) plot.setSize({ width, height: HEIGHT });
    });
  });
  resized.observe(box);
}

begin().catch(() => {
  document.querySelector("[data-series-lost]").hidden = false;
});
