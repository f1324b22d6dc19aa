// How the page looks, as far as rules can say: contrast, sizes, nothing beside the screen, focus that is seen.

import assert from "node:assert/strict";

const CONTRAST_MIN = 4.5;
// WCAG 2.2, success criterion 2.5.8.
const TARGET_PX_MIN = 24;

/// Checks what is on the screen, or the dialog that is open.
export async function looksRight(tab, name) {
  assert.deepEqual(await tab.evaluate(faults, [CONTRAST_MIN, TARGET_PX_MIN]), [], name);
}

/// Runs in the page.
function faults([contrastMin, targetMin]) {
  const found = [];
  const top = document.querySelector("dialog[open]") ?? document.body;
  const isSeen = (node) => node.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  const name = (node) => `${node.tagName.toLowerCase()}${node.id ? `#${node.id}` : `.${node.className}`}`;

  function parts(color) {
    const [r, g, b, alpha = 1] = color.match(/[\d.]+/g).map(Number);
    return { r, g, b, alpha };
  }
  function over(front, back) {
    const mix = (channel) => front[channel] * front.alpha + back[channel] * (1 - front.alpha);
    return { r: mix("r"), g: mix("g"), b: mix("b"), alpha: 1 };
  }
  function ground(node) {
    const layers = [];
    for (let at = node; at; at = at.parentElement) {
      const layer = parts(getComputedStyle(at).backgroundColor);
      if (layer.alpha > 0) layers.push(layer);
      if (layer.alpha === 1) break;
    }
    return layers.reduceRight((back, front) => over(front, back), { r: 255, g: 255, b: 255, alpha: 1 });
  }
  function brightness({ r, g, b }) {
    const linear = (value) => (value <= 10 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  }
  function contrast(color, back) {
    const [low, high] = [brightness(over(parts(color), back)), brightness(back)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  }
  function checkContrast(node, color, what) {
    const ratio = contrast(color, ground(node));
    if (ratio < contrastMin) found.push(`${what} has a contrast of ${ratio.toFixed(2)}`);
  }

  for (const node of top.querySelectorAll("*")) {
    if (!isSeen(node) || node.matches(":disabled") || node.closest(":disabled")) continue;
    const hasText = [...node.childNodes].some((child) => child.nodeType === Node.TEXT_NODE && child.data.trim());
    if (hasText || node.matches("input, textarea")) checkContrast(node, getComputedStyle(node).color, name(node));
    if (node.matches("[placeholder]")) checkContrast(node, getComputedStyle(node, "::placeholder").color, `placeholder of ${name(node)}`);
    const { width, height } = node.getBoundingClientRect();
    if (node.matches("button, input, textarea, a, [role=option]") && Math.min(width, height) < targetMin) found.push(`${name(node)} is ${width} × ${height} px`);
  }
  const wide = document.scrollingElement.scrollWidth;
  if (wide > innerWidth) found.push(`the page is ${wide} px wide on a screen of ${innerWidth}`);
  return found;
}

/// Goes through everything with the Tab key: each has a ring; gives their ids.
export async function tabThrough(tab, most = 60) {
  const ids = [];
  for (let count = 0; count < most; count += 1) {
    await tab.keyboard.press("Tab");
    const focus = await tab.evaluate(() => {
      const node = document.activeElement;
      const { outlineStyle, outlineWidth } = getComputedStyle(node);
      const isRinged = outlineStyle !== "none" && Number.parseFloat(outlineWidth) >= 2;
      return { id: node.id || node.className || node.textContent, isRinged, isBody: node === document.body };
    });
    if (focus.isBody || (ids.length > 0 && focus.id === ids[0])) return ids;
    assert.ok(focus.isRinged, `${focus.id} has no focus ring`);
    ids.push(focus.id);
  }
  throw new Error(`Tab does not come to an end: ${ids}`);
}
