// What all pages share: the slider, trees that unfold, searches that go on, news. Each page works
// without it: links and forms do the same, one page at a time.
"use strict";

const dobbin = { starters: [], stoppers: [] };

// Called with <main> whenever its content is new; what it returns is called before it goes.
dobbin.onContent = (start) => dobbin.starters.push(start);

dobbin.fetchPage = async (url, signal) => {
  const answer = await fetch(url, { signal, cache: "no-store" });
  const parsed = new DOMParser().parseFromString(await answer.text(), "text/html");
  return { parsed, url: answer.url, ok: answer.ok };
};

dobbin.element = (name, attributes, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null));
  return made;
};

dobbin.start = () => {
  const main = document.getElementById("main");
  dobbin.stoppers = dobbin.starters.map((start) => start(main)).filter(Boolean);
};

// Show another moment without leaving the page: the slider keeps the focus.
dobbin.swap = ({ parsed, url }, focusable) => {
  for (const stop of dobbin.stoppers) stop();
  for (const id of ["main", "tabs", "moment-text"]) {
    const fresh = parsed.getElementById(id);
    if (fresh) document.getElementById(id).replaceWith(document.adoptNode(fresh));
  }
  const moment = document.querySelector(".moment");
  moment.dataset.state = parsed.querySelector(".moment").dataset.state;
  const jump = parsed.querySelector(".jump");
  document.querySelector(".jump").replaceWith(document.adoptNode(jump));
  const slider = document.getElementById("slider");
  const fresh = parsed.getElementById("slider");
  slider.max = fresh.max;
  slider.disabled = fresh.disabled;
  if (!focusable) slider.value = fresh.value;
  document.title = parsed.title;
  history.replaceState(null, "", url);
  dobbin.start();
};

const slide = () => {
  const slider = document.getElementById("slider");
  const form = document.getElementById("time-form");
  let timer = 0;
  let running = null;
  const show = async () => {
    if (running) running.abort();
    running = new AbortController();
    const query = new URLSearchParams(new FormData(form));
    try {
      const page = await dobbin.fetchPage(`${form.action}?${query}`, running.signal);
      dobbin.swap(page, true);
    } catch (error) {
      if (error.name !== "AbortError") location.assign(`${form.action}?${query}`);
    }
  };
  slider.addEventListener("input", () => {
    slider.setAttribute("aria-valuetext", `transaction ${slider.value} of ${slider.max}`);
    clearTimeout(timer);
    timer = setTimeout(show, 80);
  });
  form.addEventListener("submit", (event) => { event.preventDefault(); show(); });
};

// A log whose time line is still being read has no slider yet.
const awaitSlider = () => {
  const slider = document.getElementById("slider");
  if (!slider.disabled || Number(slider.max) > 1) return;
  const text = document.getElementById("moment-text").textContent;
  if (!text.includes("reading")) return;
  setTimeout(async () => {
    const { parsed } = await dobbin.fetchPage(location.href);
    const fresh = parsed.getElementById("slider");
    for (const name of ["max", "value", "disabled"]) slider[name] = fresh[name];
    const line = document.getElementById("moment-text");
    line.replaceWith(document.adoptNode(parsed.getElementById("moment-text")));
    awaitSlider();
  }, 700);
};

// Trees

const unfold = async (details) => {
  const address = details.dataset.load;
  delete details.dataset.load;
  let parsed;
  try {
    ({ parsed } = await dobbin.fetchPage(address));
  } catch {
    details.dataset.load = address; // When it is unfolded again.
    return;
  }
  const above = [];
  for (let up = details; up; up = up.parentElement.closest("details[data-oid]")) {
    above.push(up.dataset.oid);
  }
  const below = [...parsed.body.childNodes];
  for (const each of parsed.querySelectorAll("details[data-oid]")) {
    if (!above.includes(each.dataset.oid)) continue;
    const label = [...each.querySelector("summary").childNodes];
    const mark = dobbin.element("span", { class: "above" }, " (above)");
    each.replaceWith(...label, mark);
  }
  details.querySelectorAll(":scope > :not(summary)").forEach((old) => old.remove());
  details.append(...below);
};

const more = async (link) => {
  const { parsed } = await dobbin.fetchPage(link.dataset.more);
  const items = [...parsed.querySelectorAll("body > ul > li")];
  const first = items[0] && (items[0].querySelector("summary, a"));
  link.closest("li").replaceWith(...items);
  if (first) first.focus();
};

document.addEventListener("toggle", (event) => {
  const details = event.target;
  if (details.open && details.dataset && details.dataset.load) unfold(details);
}, true);

document.addEventListener("click", (event) => {
  const link = event.target.closest && event.target.closest("a[data-more]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  more(link);
});

// Searches and counts that go on by themselves

dobbin.onContent((main) => {
  let stopped = false;
  const goOn = async () => {
    const link = main.querySelector("a[data-next]");
    if (!link || stopped) return;
    const { parsed } = await dobbin.fetchPage(link.dataset.next);
    if (stopped) return;
    const rows = main.querySelector("tbody[data-results]");
    rows.append(...parsed.querySelectorAll("tbody > tr"));
    const state = parsed.querySelector("[data-state]");
    link.closest("[data-state]").replaceWith(state);
    // Enough to look at: more when one asks for it.
    if (!state.querySelector("a[data-full]")) goOn();
  };
  const onClick = (event) => {
    const link = event.target.closest("a[data-next]");
    if (!link) return;
    event.preventDefault();
    goOn();
  };
  main.addEventListener("click", onClick);
  const first = main.querySelector("a[data-next]");
  if (first && !first.dataset.full) goOn();

  const again = async () => {
    const link = main.querySelector("a[data-again]");
    if (!link || stopped) return;
    const { parsed } = await dobbin.fetchPage(link.dataset.again);
    if (stopped) return;
    link.closest("section").replaceWith(parsed.querySelector("section"));
    again();
  };
  again();

  const timers = [...main.querySelectorAll("[data-refresh]")].map((part) => setInterval(async () => {
    if (document.hidden) return;
    try {
      const { parsed } = await dobbin.fetchPage(part.dataset.refresh);
      part.replaceChildren(...parsed.body.childNodes);
    } catch { /* The server has ended; the badge says so. */ }
  }, 2000));
  return () => {
    stopped = true;
    timers.forEach(clearInterval);
  };
});

// News: one connection while the page is seen, as browsers allow only a few to one server.

dobbin.news = (since, handlers) => {
  let source = null;
  let last = since;
  let isOver = false;
  const prefix = document.body.dataset.prefix;
  const open = () => {
    source = new EventSource(`${prefix}/events?since=${last}`);
    // The file is not what it was: asking again gives the same answer.
    source.addEventListener("trouble", () => {
      isOver = true;
      source.close();
    });
    for (const [name, handle] of Object.entries(handlers)) {
      source.addEventListener(name, (event) => {
        if (event.lastEventId) last = event.lastEventId;
        handle(event);
      });
    }
  };
  const look = () => {
    if (document.hidden && source) {
      source.close();
      source = null;
    } else if (!document.hidden && !source && !isOver) {
      open();
    }
  };
  document.addEventListener("visibilitychange", look);
  look();
  return () => {
    document.removeEventListener("visibilitychange", look);
    if (source) source.close();
  };
};

dobbin.onContent((main) => {
  const place = document.getElementById("news");
  if (!place || document.getElementById("live")) return null;
  let count = 0;
  let timer = 0;
  const tell = () => {
    timer = 0;
    const text = count === 1 ? "1 new transaction" : `${count} new transactions`;
    const url = new URL(location.href);
    url.searchParams.delete("at");
    place.replaceChildren(dobbin.element("a", { href: url.pathname + url.search }, text));
  };
  const lost = "not connected; has dobbin browse ended?";
  return dobbin.news(place.dataset.tid, {
    open: () => {
      if (place.textContent !== lost) return;
      place.replaceChildren();
      if (count) tell();
    },
    error: () => { if (place.textContent !== lost) place.replaceChildren(lost); },
    transaction: () => {
      count += 1;
      timer = timer || setTimeout(tell, 300);
    },
  });
});

document.addEventListener("DOMContentLoaded", () => {
  document.documentElement.classList.add("scripted");
  slide();
  awaitSlider();
  dobbin.start();
});
