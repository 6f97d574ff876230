// What a person who mistyped a name probably meant.

const farthest = 3;

/** ` (did you mean "x"?)` for the nearest of the known names, or nothing when none is near. */
export function suggestion(name: string, known: Iterable<string>): string {
  let best: { name: string; distance: number } | undefined;
  const wanted = name.toLowerCase();
  for (const candidate of known) {
    const bound = Math.min(best?.distance ?? farthest + 1, Math.ceil(candidate.length / 2));
    if (Math.abs(candidate.length - name.length) >= bound) continue;
    const distance = editDistance(wanted, candidate.toLowerCase());
    if (distance < bound) best = { name: candidate, distance };
  }
  return best ? ` (did you mean "${best.name}"?)` : '';
}

/** Letters to insert, leave out or replace (Levenshtein). */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(replaced, (previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1));
    }
    previous = row;
  }
  return previous[b.length] ?? 0;
}
