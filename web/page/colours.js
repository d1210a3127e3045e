// Colours of the style sheet, for what is drawn by pixels.

/** A custom property of the page as [red, green, blue]. */
export function rgb(property) {
  const text = getComputedStyle(document.documentElement).getPropertyValue(property).trim();
  return [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
}
