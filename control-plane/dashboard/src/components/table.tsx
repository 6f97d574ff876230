// A table inside its own scrolling frame, so that a phone's page never scrolls sideways.
import type { ComponentChildren } from 'preact';

export interface Column<T> {
  title: string;
  cell: (row: T) => ComponentChildren;
  /** Numbers stand at the right; sentences keep a width in which they can be read. */
  kind?: 'number' | 'sentence';
}

/** `caption` is for screen readers. */
export function Table<T>(props: { caption: string; columns: Column<T>[]; rows: T[]; id: (row: T) => string }) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a frame that scrolls must be reachable by keyboard
    <section class="table-frame" tabIndex={0} aria-label={props.caption}>
      <table>
        <caption class="unseen">{props.caption}</caption>
        <thead>
          <tr>
            {props.columns.map((column) => (
              <th key={column.title} scope="col" class={column.kind}>
                {column.title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {props.rows.map((row) => (
            <tr key={props.id(row)}>
              {props.columns.map((column) => (
                <td key={column.title} class={column.kind}>
                  {column.cell(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

/** Under a list that has more entries than are shown: up to 1000 can be. */
export function MoreRows(props: { more: boolean; limit: number; show: (limit: number) => void }) {
  if (!props.more) return null;
  if (props.limit >= 1000) return <p class="more muted">The first 1000 are shown; narrow the list to see others.</p>;
  return (
    <p class="more">
      <button type="button" class="button" onClick={() => props.show(Math.min(1000, props.limit * 2))}>
        Show more
      </button>
    </p>
  );
}
