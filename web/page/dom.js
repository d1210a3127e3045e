// The few things every room needs of the document.

export const $ = (id) => document.getElementById(id);

/** An element with attributes and children; texts are never taken as markup. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** An SVG element. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** The direction that a text is read in: that of its first letter. */
export function direction(text) {
  const [first] = text.match(/\p{L}/u) ?? [];
  return first && /[\p{Script=Arabic}\p{Script=Hebrew}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}\p{Script=Adlam}]/u.test(first) ? 'rtl' : 'ltr';
}

/** A line below a room's controls; errors stand out. */
export function say(element, text, bad = false) {
  element.textContent = text;
  element.classList.toggle('bad', bad);
}

/** A bar whose length is a share of its place. Set as a property, which needs no leave for styles in the markup. */
export function bar(share) {
  const element = make('i');
  element.style.width = `${(100 * share).toFixed(1)}%`;
  return element;
}

/** Hands a file to the browser's downloads. */
export function offer(blob, name) {
  const link = make('a', { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Makes an element take dropped files; `take` gets the DataTransfer. */
export function onDrop(element, take) {
  const over = (on) => (event) => {
    event.preventDefault();
    element.classList.toggle('over', on);
  };
  element.addEventListener('dragenter', over(true));
  element.addEventListener('dragover', over(true));
  element.addEventListener('dragleave', over(false));
  element.addEventListener('drop', (event) => {
    over(false)(event);
    take(event.dataTransfer);
  });
}

export const number = (value) => Math.round(value).toLocaleString('en');

/** Draws at most once a frame, however often it is asked to. */
export function perFrame(draw) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      draw();
    });
  };
}

/** Lets the browser draw and hear before work goes on. */
export const nextFrame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
