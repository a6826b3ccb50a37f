// The drawing: objects as circles, references as arrows. Each click brings some more of them.
"use strict";

dobbin.onContent((main) => {
  const place = document.getElementById("drawing");
  if (!place) return null;
  const data = place.closest(".drawing").dataset;
  const chosenBox = document.getElementById("chosen");
  const said = document.getElementById("said");
  const SVG = "http://www.w3.org/2000/svg";
  const RADIUS = 17;
  const LIMIT = 400;
  const nodes = new Map();
  const edges = [];
  let chosen = null;
  let heat = 0;
  let frame = 0;
  let isGone = false;
  let view = { x: 0, y: 0, scale: 1, byHand: false };

  const make = (name, attributes, ...children) => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };

  const svg = make("svg", { role: "group", "aria-label": "Objects and their references" });
  const marker = make("marker", {
    id: "arrow", viewBox: "0 0 10 10", refX: 9, refY: 5, markerWidth: 7, markerHeight: 7,
    orient: "auto-start-reverse",
  }, make("path", { d: "M0 0 10 5 0 10z", class: "arrow" }));
  const world = make("g", {});
  const [edgeLayer, nodeLayer, labelLayer] = [make("g", {}), make("g", {}), make("g", {})];
  world.append(edgeLayer, labelLayer, nodeLayer);
  svg.append(make("defs", {}, marker), world);
  place.replaceChildren(svg);

  const colours = new Map();
  const colourOf = (name) => {
    if (!colours.has(name)) colours.set(name, colours.size % 10);
    return colours.get(name);
  };

  const address = (kind, oid) => data[kind].replace(`/${kind}/0`, `/${kind}/${oid}`);
  const cut = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);
  const nameOf = (node) => `${node.short} ${node.oid}`;

  // -- what is drawn ------------------------------------------------------------

  const add = (facts, beside, turn) => {
    const known = nodes.get(facts.oid);
    if (known) return known;
    const angle = turn * 2.39996; // Golden angle: no two in one place, and the same each time.
    const node = {
      ...facts, open: false, next: 0, more: null, fixed: false, vx: 0, vy: 0,
      x: beside ? beside.x + 70 * Math.cos(angle) : 0,
      y: beside ? beside.y + 70 * Math.sin(angle) : 0,
    };
    delete node.references;
    const body = make("circle", { r: RADIUS, class: `body colour-${colourOf(node.class)}` });
    node.badge = make("text", { y: 4, class: "more" });
    const label = make("text", { y: RADIUS + 14 }, nameOf(node));
    const title = make("text", { y: RADIUS + 27, class: "title" }, cut(node.title, 24));
    node.shape = make("g", { class: "node", role: "button", tabindex: -1 }, body, node.badge, label, title);
    if (node.trouble) node.shape.classList.add("broken");
    node.shape.dataset.oid = node.oid;
    nodeLayer.append(node.shape);
    nodes.set(node.oid, node);
    describe(node);
    return node;
  };

  const describe = (node) => {
    const state = node.trouble || (node.open ? "unfolded" : "not unfolded");
    const count = node.more ? `, ${node.more} more references` : "";
    const name = `${nameOf(node)} ${node.title}`.trim();
    node.shape.setAttribute("aria-label", `${name}, ${state}${count}`);
    if (!node.trouble) node.shape.setAttribute("aria-expanded", String(node.open));
    node.shape.classList.toggle("open", node.open);
    const rest = node.open ? "" : "+";
    node.badge.textContent = node.trouble ? "!" : node.more ? `+${Math.min(node.more, 99)}` : rest;
  };

  const connect = (from, to, way) => {
    if (edges.some((edge) => edge.from === from && edge.to === to && edge.way === way)) return;
    const line = make("path", { class: "edge", "marker-end": "url(#arrow)" });
    const label = make("text", { class: "edge-label" }, cut(way, 26));
    // Labels between the same two objects are one below the other.
    const isBetween = (edge) => (edge.from === from && edge.to === to) || (edge.from === to && edge.to === from);
    const rows = edges.filter(isBetween).map((edge) => edge.row);
    let row = 0;
    while (rows.includes(row)) row += 1;
    edgeLayer.append(line);
    labelLayer.append(label);
    edges.push({ from, to, way, line, label, row });
  };

  const table = () => {
    const body = document.getElementById("drawn");
    const link = (node) => dobbin.element("a", { href: address("object", node.oid) }, `${nameOf(node)} ${node.title}`);
    body.replaceChildren(...edges.map(({ from, to, way }) => dobbin.element(
      "tr", {},
      dobbin.element("th", { scope: "row" }, link(from)),
      dobbin.element("td", {}, dobbin.element("code", {}, way)),
      dobbin.element("td", {}, link(to)),
    )));
  };

  // -- unfolding ----------------------------------------------------------------

  const unfold = async (node) => {
    if (node.trouble || node.more === 0 || node.busy) return;
    if (nodes.size >= LIMIT) {
      tell(`${LIMIT} objects are as many as can be drawn; fold some, or start anew.`);
      return;
    }
    node.busy = true;
    const [before, start] = [nodes.size, node.next];
    try {
      const url = new URL(address("neighbours", node.oid), location.href);
      url.searchParams.set("from", start);
      const facts = await ask(url);
      // It may have been folded meanwhile, or folded away.
      if (isGone || nodes.get(node.oid) !== node || node.next !== start) return;
      if (facts.trouble) {
        node.trouble = facts.trouble;
      } else {
        facts.references.forEach((each, turn) => {
          connect(node, add(each, node, node.next + turn + node.oid), each.way);
        });
        Object.assign(node, { open: true, more: facts.more, next: facts.next });
      }
    } catch (error) {
      tell(error.message);
      return;
    } finally {
      node.busy = false;
    }
    const added = nodes.size - before;
    said.textContent = `${added} object${added === 1 ? "" : "s"} appeared; there are ${nodes.size}.`;
    describe(node);
    table();
    choose(node);
    warm();
  };

  // Take away what hangs on this object alone.
  const fold = (node) => {
    for (let isDone = false; !isDone;) {
      isDone = true;
      for (const other of [...nodes.values()]) {
        if (other === node || other.oid === Number(data.start)) continue;
        const ways = edges.filter((edge) => edge.to === other && edge.from !== other);
        const comesFrom = new Set(ways.map((edge) => edge.from));
        const isBelow = ways.length === 0 || (comesFrom.size === 1 && comesFrom.has(node));
        if (!isBelow) continue;
        remove(other);
        isDone = false;
      }
    }
    for (const edge of edges.filter((each) => each.from === node)) cutOff(edge);
    Object.assign(node, { open: false, next: 0, more: null });
    describe(node);
    table();
    choose(node);
    warm();
  };

  const cutOff = (edge) => {
    edge.line.remove();
    edge.label.remove();
    edges.splice(edges.indexOf(edge), 1);
  };

  const remove = (node) => {
    for (const edge of edges.filter((each) => each.from === node || each.to === node)) cutOff(edge);
    node.shape.remove();
    nodes.delete(node.oid);
  };

  const tell = (text) => {
    if (isGone) return;
    said.textContent = text;
    chosenBox.querySelector("[data-told]")?.remove();
    chosenBox.append(dobbin.element("p", { class: "nothing", "data-told": "" }, text));
  };

  const ask = async (url) => {
    const answer = await fetch(url).catch(() => {
      throw new Error("The server does not answer; has dobbin browse ended?");
    });
    if (!answer.ok) throw new Error("The server does not show it. The page of the object says why.");
    return answer.json();
  };

  const choose = (node, isFocused) => {
    if (chosen) {
      chosen.shape.classList.remove("chosen-node");
      chosen.shape.setAttribute("tabindex", -1);
    }
    chosen = node;
    node.shape.classList.add("chosen-node");
    node.shape.setAttribute("tabindex", 0);
    if (isFocused) node.shape.focus({ preventScroll: true });
    const { element } = dobbin;
    const button = (label, act) => {
      const made = element("button", { type: "button" }, label);
      made.addEventListener("click", act);
      return made;
    };
    const link = element("a", { href: address("object", node.oid) }, element("b", {}, node.short), ` oid ${node.oid}`);
    const rows = [element("p", {}, link), element("p", {}, node.title)];
    if (node.trouble) rows.push(element("p", { class: "damaged" }, node.trouble));
    const acts = element("p", {});
    if (!node.trouble && !node.open) acts.append(button("Unfold", () => unfold(node)));
    if (node.more) acts.append(button(`${node.more > 99 ? "More than 99" : node.more} more`, () => unfold(node)), " ");
    if (node.open) acts.append(button("Fold", () => fold(node)));
    if (node.open && !edges.some((edge) => edge.from === node)) rows.push(element("p", { class: "nothing" }, "refers to no object"));
    rows.push(acts);
    chosenBox.replaceChildren(...rows);
    draw();
  };

  // -- where it is drawn: springs along references, and objects that keep off each other -----

  const step = () => {
    const all = [...nodes.values()];
    for (let first = 0; first < all.length; first += 1) {
      for (let second = first + 1; second < all.length; second += 1) {
        const [a, b] = [all[first], all[second]];
        const dx = a.x - b.x || 0.1;
        const dy = a.y - b.y || 0.1;
        const square = Math.max(dx * dx + dy * dy, 60);
        const push = (11000 / square) * heat;
        const distance = Math.sqrt(square);
        a.vx += (dx / distance) * push; a.vy += (dy / distance) * push;
        b.vx -= (dx / distance) * push; b.vy -= (dy / distance) * push;
      }
    }
    for (const { from, to } of edges) {
      if (from === to) continue;
      const dx = to.x - from.x;
      const dy = to.y - from.y;
      const distance = Math.sqrt(dx * dx + dy * dy) || 1;
      const pull = (distance - 140) * 0.06 * heat;
      from.vx += (dx / distance) * pull; from.vy += (dy / distance) * pull;
      to.vx -= (dx / distance) * pull; to.vy -= (dy / distance) * pull;
    }
    for (const node of all) {
      node.vx -= node.x * 0.002 * heat;
      node.vy -= node.y * 0.011 * heat;
      const speed = Math.hypot(node.vx, node.vy);
      const slow = speed > 30 ? 30 / speed : 1;
      if (!node.fixed) {
        node.x += node.vx * slow;
        node.y += node.vy * slow;
      }
      node.vx *= 0.55;
      node.vy *= 0.55;
    }
    heat *= 0.985;
  };

  const warm = () => {
    heat = 1;
    delete place.dataset.settled;
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
      for (let count = 0; count < 260; count += 1) step();
      heat = 0;
    }
    if (!frame) frame = requestAnimationFrame(tick);
  };

  const tick = () => {
    frame = 0;
    if (isGone) return;
    for (let count = 0; count < 3 && heat > 0.02; count += 1) step();
    if (!view.byHand) fit();
    draw();
    if (heat > 0.02) frame = requestAnimationFrame(tick);
    else place.dataset.settled = nodes.size;
  };

  const draw = () => {
    for (const node of nodes.values()) {
      node.shape.setAttribute("transform", `translate(${node.x.toFixed(1)} ${node.y.toFixed(1)})`);
    }
    for (const { from, to, line, label, row } of edges) {
      if (from === to) {
        line.setAttribute("d", `M${from.x - 8} ${from.y - RADIUS} c-14 -34 30 -34 16 0`);
        label.setAttribute("x", from.x);
        label.setAttribute("y", from.y - RADIUS - 28 - 11 * row);
      } else {
        const dx = to.x - from.x;
        const dy = to.y - from.y;
        const distance = Math.hypot(dx, dy) || 1;
        const [ux, uy] = [dx / distance, dy / distance];
        const gap = RADIUS + 2;
        line.setAttribute("d", `M${(from.x + ux * gap).toFixed(1)} ${(from.y + uy * gap).toFixed(1)}`
          + `L${(to.x - ux * gap).toFixed(1)} ${(to.y - uy * gap).toFixed(1)}`);
        label.setAttribute("x", ((from.x + to.x) / 2).toFixed(1));
        label.setAttribute("y", ((from.y + to.y) / 2 + 3 + 11 * row).toFixed(1));
      }
      const isNear = chosen && (from === chosen || to === chosen);
      label.toggleAttribute("hidden", !isNear);
      label.setAttribute("visibility", isNear || edges.length < 9 ? "visible" : "hidden");
    }
    world.setAttribute("transform", `translate(${view.x} ${view.y}) scale(${view.scale})`);
  };

  const fit = () => {
    const all = [...nodes.values()];
    const [xs, ys] = [all.map((node) => node.x), all.map((node) => node.y)];
    const [left, right] = [Math.min(...xs) - 70, Math.max(...xs) + 70];
    const [top, bottom] = [Math.min(...ys) - 40, Math.max(...ys) + 60];
    const above = 46; // The buttons.
    const height = place.clientHeight - above;
    // Beside the box that tells of the chosen object.
    const box = place.clientWidth > 600 ? chosenBox.offsetWidth : 0;
    const width = place.clientWidth - box;
    const scale = Math.min(1.3, width / (right - left), height / (bottom - top));
    view = {
      ...view, scale,
      x: width / 2 - ((left + right) / 2) * scale, y: above + height / 2 - ((top + bottom) / 2) * scale,
    };
  };

  const zoom = (by, x = place.clientWidth / 2, y = place.clientHeight / 2) => {
    const scale = Math.min(4, Math.max(0.08, view.scale * by));
    const change = scale / view.scale;
    view = { scale, x: x - (x - view.x) * change, y: y - (y - view.y) * change, byHand: true };
    draw();
  };

  // -- what people do -----------------------------------------------------------

  const nodeAt = (target) => {
    const shape = target.closest && target.closest(".node");
    return shape ? nodes.get(Number(shape.dataset.oid)) : null;
  };

  let drag = null;
  svg.addEventListener("pointerdown", (event) => {
    drag = { node: nodeAt(event.target), x: event.clientX, y: event.clientY, isMoved: false };
    svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
    if (!drag.isMoved && Math.hypot(dx, dy) < 5) return;
    drag.isMoved = true;
    Object.assign(drag, { x: event.clientX, y: event.clientY });
    if (drag.node) {
      drag.node.fixed = true;
      drag.node.x += dx / view.scale;
      drag.node.y += dy / view.scale;
      heat = Math.max(heat, 0.25);
      if (!frame) frame = requestAnimationFrame(tick);
    } else {
      svg.classList.add("dragged");
      view = { ...view, x: view.x + dx, y: view.y + dy, byHand: true };
      draw();
    }
  });
  svg.addEventListener("pointerup", () => {
    svg.classList.remove("dragged");
    const { node, isMoved } = drag || {};
    drag = null;
    if (!node || isMoved) return;
    choose(node, true);
    unfold(node);
  });
  svg.addEventListener("pointercancel", () => { drag = null; });
  svg.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = svg.getBoundingClientRect();
    zoom(Math.exp(-event.deltaY / 400), event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });

  const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  svg.addEventListener("keydown", (event) => {
    const node = nodeAt(event.target);
    if (!node) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      unfold(node);
    } else if (event.key in DIRECTIONS) {
      event.preventDefault();
      const [x, y] = DIRECTIONS[event.key];
      let best = null;
      for (const other of nodes.values()) {
        const along = (other.x - node.x) * x + (other.y - node.y) * y;
        const aside = Math.abs((other.x - node.x) * y) + Math.abs((other.y - node.y) * x);
        if (other === node || along <= 0) continue;
        const cost = along + 2 * aside;
        if (!best || cost < best.cost) best = { other, cost };
      }
      if (best) choose(best.other, true);
    }
  });

  const begin = async () => {
    let facts;
    try {
      facts = await ask(address("neighbours", data.start));
    } catch (error) {
      tell(error.message);
      return;
    }
    if (isGone) return;
    nodes.forEach((node) => node.shape.remove());
    nodes.clear();
    edges.splice(0).forEach((edge) => { edge.line.remove(); edge.label.remove(); });
    view.byHand = false;
    const first = add(facts, null, 0);
    choose(first);
    await unfold(first);
    if (first.trouble) warm();
  };

  const acts = {
    in: () => zoom(1.3),
    out: () => zoom(1 / 1.3),
    fit: () => { view.byHand = false; fit(); draw(); },
    anew: begin,
  };
  const onClick = (event) => {
    const button = event.target.closest("button[data-do]");
    if (button) acts[button.dataset.do]();
  };
  main.addEventListener("click", onClick);
  begin();
  return () => {
    isGone = true;
    cancelAnimationFrame(frame);
    main.removeEventListener("click", onClick);
  };
});
