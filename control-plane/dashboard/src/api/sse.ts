// Parser of `text/event-stream`. EventSource cannot send the Authorization header, so the stream is read with fetch.

export interface ServerSentEvent {
  /** `message` when the server names none. */
  event: string;
  data: string;
}

/**
 * Takes text in whatever pieces it arrives and gives the events that each piece completes.
 * https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
 */
export function createEventStreamParser(): (text: string) => ServerSentEvent[] {
  let rest = '';
  let name = '';
  let data: string[] = [];
  let started = false;

  function takeLine(line: string): ServerSentEvent | undefined {
    if (line === '') {
      const event = data.length === 0 ? undefined : { event: name === '' ? 'message' : name, data: data.join('\n') };
      name = '';
      data = [];
      return event;
    }
    const colon = line.indexOf(':');
    const field = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'event') name = value;
    if (field === 'data') data.push(value);
    return undefined;
  }

  return (text) => {
    rest += started ? text : text.replace(/^\uFEFF/, '');
    started ||= text !== '';
    const events: ServerSentEvent[] = [];
    for (let end = lineEnd(rest); end !== undefined; end = lineEnd(rest)) {
      const event = takeLine(rest.slice(0, end.at));
      rest = rest.slice(end.next);
      if (event !== undefined) events.push(event);
    }
    return events;
  };
}

/** Lines end with LF, CR or CRLF; a CR at the very end may be half of a CRLF, so it waits for what follows. */
function lineEnd(text: string): { at: number; next: number } | undefined {
  const at = text.search(/[\r\n]/);
  if (at === -1) return undefined;
  if (text[at] === '\n') return { at, next: at + 1 };
  if (at === text.length - 1) return undefined;
  return { at, next: text[at + 1] === '\n' ? at + 2 : at + 1 };
}
