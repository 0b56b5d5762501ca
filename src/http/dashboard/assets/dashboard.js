// What pages of the dashboard can do beyond reading and sending forms: local times, copying, live rows, keys.
"use strict";
document.documentElement.classList.add("has-script");

const all = (selector, within = document) => [...within.querySelectorAll(selector)];

function localTimes(within) {
  for (const time of all("time[datetime]", within)) {
    const moment = new Date(time.dateTime);
    if (isNaN(moment)) continue;
    time.title = time.dateTime;
    time.textContent = moment.toLocaleString(undefined, { dateStyle: "short", timeStyle: "medium" });
  }
}
localTimes(document);

function say(text) {
  const place = document.getElementById("said");
  if (place) place.textContent = text;
}

for (const button of all("button[data-copy]")) {
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
      say("Copied.");
    } catch {
      // Without https there is no clipboard: the text is selected instead.
      const details = source.closest("details");
      if (details) details.open = true;
      getSelection().selectAllChildren(source);
      say("Selected; copy it with Ctrl+C.");
    }
  });
}

for (const button of all("button[data-reveal]")) {
  const field = document.getElementById(button.dataset.reveal);
  button.addEventListener("click", () => {
    const isHidden = field.type === "password";
    field.type = isHidden ? "text" : "password";
    button.setAttribute("aria-pressed", String(isHidden));
  });
}

// A page of work in progress shows how far it has come.
const work = document.querySelector("[data-refresh]");
if (work) setTimeout(() => location.reload(), Number(work.dataset.refresh) * 1000);

// Live rows. The connection is closed while nobody looks, as a browser has few of them for one host.
const live = document.getElementById("live");
if (live) {
  const ROWS = 200;
  const rows = document.getElementById(live.dataset.rows);
  let stream = null, count = 0, missed = 0;
  const isWanted = () => live.getAttribute("aria-pressed") === "true" && !document.hidden;
  const update = () => {
    if (isWanted() && !stream) {
      stream = new EventSource(live.dataset.live);
      stream.addEventListener("rows", (event) => {
        const before = new Set(all("tr[data-id]", rows).map((row) => row.dataset.id));
        const fresh = document.createElement("tbody");
        fresh.innerHTML = event.data;
        for (const row of all("tr[data-id]", fresh).reverse()) {
          if (before.has(row.dataset.id)) rows.querySelector(`tr[data-id="${CSS.escape(row.dataset.id)}"]`).remove();
          row.classList.add("new");
          setTimeout(() => row.classList.remove("new"), 2000);
          rows.prepend(row);
          count += 1;
        }
        all("tr[data-id]", rows).slice(ROWS).forEach((row) => row.remove());
        localTimes(rows);
        say(`${count} new attempts${missed ? `, ${missed} more that came too fast to show` : ""}`);
      });
      stream.addEventListener("missed", (event) => { missed += Number(event.data); });
      stream.addEventListener("end", (event) => { stop(); say(event.data); });
      stream.onopen = () => say("Following live.");
    } else if (!isWanted() && stream) {
      stream.close();
      stream = null;
    }
  };
  const stop = () => { live.setAttribute("aria-pressed", "false"); update(); };
  live.addEventListener("click", () => {
    const isOn = live.getAttribute("aria-pressed") === "true";
    live.setAttribute("aria-pressed", String(!isOn));
    if (isOn) say("Stopped.");
    update();
  });
  document.addEventListener("visibilitychange", update);
  addEventListener("pagehide", () => { if (stream) stream.close(); });
}

// Keys: / to the first filter, j and k through rows. They do nothing while something is typed or with modifiers.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("input, select, textarea")) return;
  if (document.documentElement.dataset.keys === "off") return;
  const links = all("tbody tr[data-id] th a");
  const here = links.indexOf(document.activeElement);
  if (event.key === "/") {
    const field = document.querySelector(".filters input, .filters select");
    if (field) { event.preventDefault(); field.focus(); }
  } else if (event.key === "j" && links.length) {
    links[Math.min(here + 1, links.length - 1)].focus();
  } else if (event.key === "k" && links.length) {
    links[Math.max(here - 1, 0)].focus();
  }
});

// Single keys can be switched off: some people's hands or voices press them by accident.
const keys = document.getElementById("keys");
try {
  document.documentElement.dataset.keys = localStorage.getItem("keys") || "on";
} catch { /* no storage: they stay on */ }
if (keys) {
  keys.checked = document.documentElement.dataset.keys === "on";
  keys.addEventListener("change", () => {
    document.documentElement.dataset.keys = keys.checked ? "on" : "off";
    try { localStorage.setItem("keys", keys.checked ? "on" : "off"); } catch { /* until the page is closed */ }
  });
}
