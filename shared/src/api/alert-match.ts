// Which alerts are meant: by channels that receive them, silences that mute them, rules that inhibit them.
import { z } from 'zod';
import { ModelName, ModelVersion } from '../identifiers.ts';
import { matches, parseSelector, SelectorText } from '../selector.ts';

export const severities = ['info', 'warning', 'critical'] as const;
export const Severity = z.enum(severities);
export type Severity = z.infer<typeof Severity>;

export const AlertKind = z.enum(['drift', 'accuracy', 'metric']);
export type AlertKind = z.infer<typeof AlertKind>;

/** All that is set must hold; `{}` means every alert. */
export const AlertMatch = z.strictObject({
  /** Id of the rule. */
  rule: z.string().max(200).optional(),
  kind: AlertKind.optional(),
  model: ModelName.optional(),
  version: ModelVersion.optional(),
  /** One of these. */
  severity: z.array(Severity).min(1).optional(),
  /** Over the alert's labels: those of its rule, and of what it is about, as `site` or `device`. */
  labels: SelectorText.optional(),
});
export type AlertMatch = z.infer<typeof AlertMatch>;

export interface Matchable {
  ruleId: string;
  kind: AlertKind;
  model: string | null;
  version: number | null;
  severity: Severity;
  labels: Readonly<Record<string, string>>;
}

export function matchesAlert(match: AlertMatch, alert: Matchable): boolean {
  return (
    (match.rule ?? alert.ruleId) === alert.ruleId &&
    (match.kind ?? alert.kind) === alert.kind &&
    (match.model ?? alert.model) === alert.model &&
    (match.version ?? alert.version) === alert.version &&
    (match.severity?.includes(alert.severity) ?? true) &&
    (match.labels === undefined || matches(parseSelector(match.labels), alert.labels))
  );
}
