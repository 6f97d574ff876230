// A line for the terminal, to copy.
import { useEffect, useState } from 'preact/hooks';

export function CommandLine({ text }: { text: string }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => setCopied(false), [text]);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setCopied(true);
  };
  return (
    <figure class="command">
      <figcaption class="muted small">The same on a terminal</figcaption>
      <pre>{text}</pre>
      {/* Browsers have a clipboard on https and localhost only. */}
      {navigator.clipboard !== undefined && (
        <button type="button" class="button" onClick={() => void copy()}>
          {copied ? 'Copied' : 'Copy'}
        </button>
      )}
    </figure>
  );
}
