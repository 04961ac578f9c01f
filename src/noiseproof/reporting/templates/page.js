"use strict";
// The page is whole without this: it makes buttons of the legend's entries, and unfolds what is folded for printing.
(() => {
  for (const chart of document.querySelectorAll("[data-chart]")) {
    const parts = (entry) => chart.querySelectorAll(`[data-series="${entry.dataset.toggles}"]`);
    const entries = chart.querySelectorAll("[data-toggles]");
    for (const entry of entries.length > 1 ? entries : []) {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-pressed", "true");
      button.append(...entry.childNodes);
      entry.append(button);
      button.addEventListener("click", () => {
        const shown = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(shown));
        for (const part of parts(entry)) part.classList.toggle("off", !shown);
      });
      const point = (on) => {
        chart.classList.toggle("pointed", on);
        for (const part of parts(entry)) part.classList.toggle("at", on);
      };
      button.addEventListener("pointerenter", () => point(true));
      button.addEventListener("pointerleave", () => point(false));
    }
  }
  let unfolded = [];
  addEventListener("beforeprint", () => {
    unfolded = [...document.querySelectorAll("details:not([open])")];
    for (const details of unfolded) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of unfolded) details.open = false;
  });
})();
