// The parts that every page is made of: its head, cards, figures, and what stands where nothing is yet.
import type { AppError } from '@edgeloop/shared/errors';
import type { ComponentChildren } from 'preact';
import { useEffect } from 'preact/hooks';
import type { Query } from '../api/queries.ts';

/** Title of the page, in the document's title too, with the way back and the page's actions. */
export function PageHead(props: {
  title: string;
  parents?: { title: string; path: string }[];
  note?: ComponentChildren;
  children?: ComponentChildren;
}) {
  useEffect(() => {
    document.title = `${props.title} · Edgeloop`;
  }, [props.title]);
  return (
    <div class="page-head">
      <div>
        {props.parents !== undefined && (
          <nav class="crumbs" aria-label="Path">
            {props.parents.map((parent) => (
              <a key={parent.path} href={parent.path}>
                {parent.title}
              </a>
            ))}
          </nav>
        )}
        <h1>{props.title}</h1>
        {props.note !== undefined && <div class="page-note">{props.note}</div>}
      </div>
      {props.children !== undefined && <div class="page-actions">{props.children}</div>}
    </div>
  );
}

/** `flush` lets a table reach the card's edges. */
export function Card(props: {
  title: string;
  note?: ComponentChildren;
  actions?: ComponentChildren;
  flush?: boolean;
  wide?: boolean;
  children: ComponentChildren;
}) {
  return (
    <section class={`card${props.flush === true ? ' card-flush' : ''}${props.wide === true ? ' wide' : ''}`}>
      <div class="card-head">
        <h2>{props.title}</h2>
        {props.note !== undefined && <span class="muted">{props.note}</span>}
        {props.actions !== undefined && <div class="card-actions">{props.actions}</div>}
      </div>
      {props.children}
    </section>
  );
}

/** One number with its name; a link when `path` is given. */
export function Figure(props: {
  name: string;
  value: ComponentChildren;
  note?: ComponentChildren;
  tone?: string;
  path?: string;
}) {
  const content = (
    <>
      <span class="figure-name">{props.name}</span>
      <span class={`figure-value${props.tone === undefined ? '' : ` text-${props.tone}`}`}>{props.value}</span>
      <span class="figure-note">{props.note}</span>
    </>
  );
  if (props.path === undefined) return <div class="figure">{content}</div>;
  return (
    <a class="figure" href={props.path}>
      {content}
    </a>
  );
}

/** Names and values, one line each. */
export function Facts({ facts }: { facts: [name: string, value: ComponentChildren][] }) {
  return (
    <dl class="facts">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** What to do where there is nothing. `command` is for the terminal. */
export function Empty(props: { title: string; children?: ComponentChildren; command?: string }) {
  return (
    <div class="empty">
      <strong>{props.title}</strong>
      {props.children !== undefined && <p>{props.children}</p>}
      {props.command !== undefined && <pre>{props.command}</pre>}
    </div>
  );
}

export function Failure({ error }: { error: AppError }) {
  return (
    <div class="failure" role="alert">
      <p>{error.message}</p>
      {error.errors.length > 1 && (
        <ul>
          {error.errors.map((each) => (
            <li key={each.field}>
              <code>{each.field}</code> {each.message}
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

/**
 * Shows what a query has: its data, kept while newer is read, an error above it, or a quiet placeholder. That the server
 * cannot be reached is said once, at the page's top, while there is former data.
 */
export function Loaded<T>({ query, children }: { query: Query<T>; children: (data: T) => ComponentChildren }) {
  const stale = query.data !== undefined;
  return (
    <>
      {query.error !== undefined && !(stale && query.error.code === 'unavailable') && <Failure error={query.error} />}
      {query.data !== undefined && children(query.data)}
      {query.loading && (
        <div class="placeholder" role="status">
          Loading
        </div>
      )}
    </>
  );
}
