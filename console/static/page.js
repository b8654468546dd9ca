// Small pieces that the parts of the start page share.

/** The element with this id. */
export function element(id) {
  return document.getElementById(id);
}

/** A new element with properties, attributes (the names with a hyphen) and children. */
export function make(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-")) {
      made.setAttribute(key, value);
    } else {
      made[key] = value;
    }
  }
  made.append(...children);
  return made;
}

/** A number with its digits in groups of three. */
export function grouped(number) {
  return Number(number).toLocaleString("en-US");
}

/** Milliseconds as people read them. */
export function duration(milliseconds) {
  return milliseconds < 10 ? `${milliseconds.toFixed(1)} ms` : `${Math.round(milliseconds)} ms`;
}
