// Text of others as one line that a terminal and a page can show: devices may send anything.

/** Control characters, and those that turn the direction of what follows. */
const unprintable = /[\p{Cc}\p{Bidi_Control}\u2028\u2029]+/gu;

/** On one line, without control characters, at most `most` characters long. */
export function plainText(text: string, most = 500): string {
  const line = text.replace(unprintable, ' ').trim();
  return line.length <= most ? line : `${line.slice(0, most - 1)}…`;
}
