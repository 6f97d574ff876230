// Names as browsers send them: origins of pages, and the name in a Host header. Whoever owns a name in public DNS can point it at
// this machine (DNS rebinding), and his page then counts as ours; a name that public DNS cannot hold is safe from that.

/** Top-level names that never are in public DNS (RFC 6761, 6762, 8375; `internal` as ICANN reserved it). */
const privateNames = /\.(?:localhost|local|internal|home\.arpa)$/;

/** The name of a Host header in lower case, without port and closing dot; undefined for what is none. */
export function hostNameOf(host: string): string | undefined {
  const name = /^(\[[0-9a-f:.]+\]|[^\s:/?#@*,[\]\\]+)(?::\d*)?$/i.exec(host.trim())?.[1];
  return name?.toLowerCase().replace(/\.$/, '');
}

/** Whether nobody can bring this name of `hostNameOf` into public DNS: addresses, single words, and names of private networks. */
export function isPrivateName(name: string): boolean {
  return !name.includes('.') || name.startsWith('[') || /\.\d+$/.test(name) || privateNames.test(name);
}

/** `scheme://host[:port]` as browsers write it; undefined for what is no origin, a path or a wildcard for example. */
export function originOf(text: string): string | undefined {
  const given = text.trim().replace(/\/$/, '').toLowerCase();
  if (!/^[a-z][a-z0-9+.-]*:\/\/[^\s/?#@*,\\]+$/.test(given)) return undefined;
  if (!/^https?:/.test(given)) return given;
  return URL.canParse(given) ? new URL(given).origin : undefined;
}
