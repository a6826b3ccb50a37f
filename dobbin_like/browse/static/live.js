// The page of what comes: transactions as they are committed, the rate, conflicts by class.
"use strict";

dobbin.onContent((main) => {
  const live = document.getElementById("live");
  if (!live) return null;
  const SECONDS = 60;
  const KEPT = 200;
  const prefix = document.body.dataset.prefix;
  const feed = document.getElementById("feed");
  const badge = document.getElementById("connection");
  const pause = document.getElementById("pause");
  const counts = { commits: 0, failed: 0 };
  const conflicts = new Map();
  const rates = Array.from({ length: SECONDS }, () => ({ commits: 0, failed: 0 }));
  let waiting = [];
  let isPaused = false;

  const connected = (state, text) => {
    badge.dataset.state = state;
    if (badge.textContent !== text) badge.textContent = text;
  };

  const object = (oid) => dobbin.element("a", { href: `${prefix}/object/${oid}` }, `${oid}`);

  const line = (told) => {
    const { element } = dobbin;
    const time = element("a", { href: `${prefix}/transaction/${told.tid}` }, told.time.slice(11, 23));
    const head = [time, " ", element("b", {}, told.user), " "];
    if (told.failed) {
      const why = told.reason || "its process died";
      return element("li", { class: "failed" }, ...head, element("strong", {}, "failed: "), why);
    }
    const classes = Object.entries(told.classes)
      .map(([name, count]) => (count > 1 ? `${count} ${name}` : name)).join(", ");
    const oids = told.oids.slice(0, 5).flatMap((oid) => [" ", object(oid)]);
    const more = told.objects > 5 ? ` and ${told.objects - 5} more` : "";
    const what = element("span", { class: "what" }, ` ${classes} `, ...oids, more);
    return element("li", { class: "fresh" }, ...head, told.description, what);
  };

  const figures = () => {
    const last = rates[SECONDS - 1];
    const shown = { commits: counts.commits, failed: counts.failed, rate: last.commits };
    for (const place of main.querySelectorAll("[data-count]")) {
      place.textContent = shown[place.dataset.count].toLocaleString("en");
    }
    const list = document.getElementById("conflicts");
    const rows = [...conflicts].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0]));
    const items = rows.slice(0, 20).map(([name, count]) =>
      dobbin.element("li", {}, dobbin.element("code", {}, name), ` ${count}`));
    list.replaceChildren(...(items.length ? items : [dobbin.element("li", { class: "nothing" }, "none yet")]));
  };

  const SVG = "http://www.w3.org/2000/svg";
  const draw = () => {
    const picture = document.createElementNS(SVG, "svg");
    picture.setAttribute("viewBox", "0 0 600 90");
    picture.setAttribute("preserveAspectRatio", "none");
    picture.setAttribute("role", "img");
    picture.setAttribute("aria-label", `Now ${rates[SECONDS - 1].commits} commits per second`);
    const highest = Math.max(1, ...rates.map((each) => each.commits + each.failed));
    rates.forEach((each, number) => {
      let floor = 88;
      for (const kind of ["failed", "commits"]) {
        if (!each[kind]) continue;
        const height = Math.max(2, (each[kind] / highest) * 80);
        const bar = document.createElementNS(SVG, "rect");
        const place = { x: number * 10 + 1, y: floor - height, width: 8, height };
        for (const [key, value] of Object.entries(place)) bar.setAttribute(key, value);
        if (kind === "failed") bar.setAttribute("class", "failed");
        picture.append(bar);
        floor -= height;
      }
    });
    const ground = document.createElementNS(SVG, "line");
    for (const [key, value] of Object.entries({ x1: 0, x2: 600, y1: 89, y2: 89 })) {
      ground.setAttribute(key, value);
    }
    picture.append(ground);
    document.getElementById("rates").replaceChildren(picture);
  };

  const flush = () => {
    if (isPaused || !waiting.length) return;
    feed.prepend(...waiting.slice(-KEPT).reverse());
    waiting = [];
    while (feed.children.length > KEPT) feed.lastElementChild.remove();
  };

  let current = { commits: 0, failed: 0 };
  const tick = () => {
    rates.shift();
    rates.push(current);
    current = { commits: 0, failed: 0 };
    draw();
    figures();
  };

  const note = (text) => {
    waiting.push(dobbin.element("li", { class: "failed" }, text));
    flush();
  };

  const stop = dobbin.news(live.dataset.tid, {
    open: () => connected("here", "connected"),
    error: () => connected("away", "not connected; has dobbin browse ended?"),
    transaction: (event) => {
      const told = JSON.parse(event.data);
      const kind = told.failed ? "failed" : "commits";
      counts[kind] += 1;
      current[kind] += 1;
      if (told.reason.startsWith("conflict: ")) {
        const name = told.reason.slice("conflict: ".length).split(" oid ")[0];
        conflicts.set(name, (conflicts.get(name) || 0) + 1);
      }
      waiting.push(line(told));
      if (waiting.length > KEPT) waiting.shift();
      flush();
      figures();
    },
    skipped: () => note("More was committed than can be shown: some transactions are left out."),
    damaged: (event) => note(`Damaged: ${JSON.parse(event.data).text}`),
    trouble: (event) => note(JSON.parse(event.data).text),
  });
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.setAttribute("aria-pressed", String(isPaused));
    pause.textContent = isPaused ? "Go on" : "Pause";
    flush();
  });
  draw();
  figures();
  const timer = setInterval(tick, 1000);
  return () => {
    clearInterval(timer);
    stop();
  };
});
