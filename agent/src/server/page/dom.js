// Elements without markup in strings: whatever a model is called, it stays text.

/**
 * An element. Properties that begin with `on` are listeners, those in `attributes` attributes, others properties.
 * @param {string} tag
 * @param {Record<string, unknown>} [properties]
 * @param {...(Node | string | undefined)} children
 */
export function element(tag, { attributes = {}, ...properties } = {}, ...children) {
  return fill(document.createElement(tag), attributes, properties, children);
}

/** The same for drawings. */
export function drawing(tag, attributes = {}, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, {}, children);
}

function fill(node, attributes, properties, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node[name] = value;
  }
  node.append(...children.filter((child) => child !== undefined));
  return node;
}

/** A number as short as it can be read. */
export function short(value) {
  if (typeof value !== 'number') return String(value);
  if (value === 0 || Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  return size >= 1e6 || size < 1e-4 ? value.toExponential(3) : String(Number(value.toPrecision(5)));
}
