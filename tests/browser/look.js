// What the tests ask of a page that is open in a browser. An element is told by its name and how its text begins.
(() => {
  const shown = (element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  const told = (element) =>
    `<${element.localName}${element.className ? ` class=${element.className}` : ""}> ` +
    (element.getAttribute("aria-label") || element.textContent).trim().slice(0, 60);
  const elements = () => [...document.body.querySelectorAll("*")].filter(shown);
  const scrolls = (element) => /auto|scroll/.test(getComputedStyle(element).overflowX);
  const withinScroller = (element) => {
    for (let one = element.parentElement; one; one = one.parentElement) if (scrolls(one)) return true;
    return false;
  };

  // Colours are [red, green, blue, opacity], the first three in 0 to 255.
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const colour = (text) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    const [red, green, blue, opacity] = canvas.getImageData(0, 0, 1, 1).data;
    return [red, green, blue, opacity / 255];
  };
  const over = (top, below) => [...[0, 1, 2].map((one) => top[one] * top[3] + below[one] * (1 - top[3])), 1];
  const behind = (element) => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) {
      layers.push(colour(getComputedStyle(one).backgroundColor));
      if (layers.at(-1)[3] === 1) break;
    }
    return layers.reduceRight((below, top) => over(top, below), colour("Canvas"));
  };
  const luminance = (rgb) => {
    const [red, green, blue] = rgb.slice(0, 3).map((one) => {
      const share = one / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const ratio = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };

  const STOPS = "a[href], button, input, select, textarea, summary, iframe, audio, video, [tabindex], [contenteditable]";
  let stops = [];

  window.look = {
    // What reaches beyond the window or its own box, or is hidden by one, and cannot be scrolled to.
    cut() {
      const width = document.documentElement.clientWidth;
      const found = [];
      if (document.scrollingElement.scrollWidth > width) found.push(`page of ${document.scrollingElement.scrollWidth}`);
      for (const one of elements()) {
        const box = one.getBoundingClientRect();
        const style = getComputedStyle(one);
        const hides = /hidden|clip/;
        if ((box.right > width + 1 || box.left < -1) && !withinScroller(one)) found.push(`beyond: ${told(one)}`);
        if (style.display === "inline" || scrolls(one)) continue;
        if (one.scrollWidth > one.clientWidth + 1 && one.clientWidth) found.push(`wider: ${told(one)}`);
        if (hides.test(style.overflowY) && one.scrollHeight > one.clientHeight + 1) found.push(`higher: ${told(one)}`);
      }
      return found;
    },

    // What scrolls sideways, and whether a keyboard can reach it and a screen reader name it.
    scrollers: () =>
      elements()
        .filter((one) => scrolls(one) && one.scrollWidth > one.clientWidth)
        .map((one) => ({
          what: told(one),
          named: one.tabIndex === 0 && one.getAttribute("role") === "region" && Boolean(one.getAttribute("aria-label")),
        })),

    // Every piece of text: how it begins, and its contrast with what is behind it.
    contrasts() {
      const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      const found = [];
      while (walker.nextNode()) {
        const [text, parent] = [walker.currentNode.textContent.trim(), walker.currentNode.parentElement];
        if (!text || !shown(parent)) continue;
        const below = behind(parent);
        found.push({ text: text.slice(0, 60), ratio: ratio(over(colour(getComputedStyle(parent).color), below), below) });
      }
      return found;
    },

    // What Tab has to reach, in this order.
    stops() {
      stops = [...document.querySelectorAll(STOPS)].filter((one) => shown(one) && one.tabIndex >= 0);
      return stops.map(told);
    },

    // The place among them of what has the focus, and how that can be seen.
    focus() {
      const one = document.activeElement;
      const style = getComputedStyle(one);
      // A link has a box a line.
      const box = one.getClientRects()[0];
      const x = (Math.max(box.left, 0) + Math.min(box.right, innerWidth)) / 2;
      const y = (Math.max(box.top, 0) + Math.min(box.bottom, innerHeight)) / 2;
      const outlined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
      return {
        place: stops.indexOf(one),
        what: told(one),
        outline: outlined ? ratio(over(colour(style.outlineColor), behind(one.parentElement)), behind(one.parentElement)) : 0,
        uncovered: one.contains(document.elementFromPoint(x, y)),
      };
    },
  };
})();
