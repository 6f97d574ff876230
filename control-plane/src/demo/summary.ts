// What the demo saw, in figures, and whether that is the whole loop.

export interface Summary {
  /** Shares of right answers, 0 to 1, counted by the clients on files of packages that no model learned from. */
  accuracyBefore: number;
  accuracyDegraded: number;
  accuracyAfter: number;
  /** Every answer of the last measurement came from the retrained version. */
  answeredByNewVersion: boolean;
  onsetToAlertSeconds: number;
  alertToReleaseSeconds: number;
  movedFeatures: string[];
  versions: number[];
  answered: number;
  failed: number;
  lastFailure: string;
  /** Answers that the control plane counted from telemetry. */
  counted: number;
  totalSeconds: number;
}

/** What was not seen to happen; empty when the loop is whole. */
export function verdictOf(summary: Summary): string[] {
  const missing: string[] = [];
  const lost = summary.accuracyBefore - summary.accuracyDegraded;
  const regained = summary.accuracyAfter - summary.accuracyDegraded;
  if (lost < 0.15) missing.push(`the change cost only ${points(lost)} points of accuracy, at least 15 were expected`);
  if (regained < 0.1)
    missing.push(`retraining regained only ${points(regained)} points of accuracy, at least 10 were expected`);
  if (!summary.answeredByNewVersion) missing.push('not every answer at the end came from the retrained version');
  if (summary.movedFeatures.length === 0) missing.push('the drift alert named no feature');
  if (summary.failed > 0) missing.push(`${summary.failed} requests failed; the last one: ${summary.lastFailure}`);
  if (summary.counted !== summary.answered)
    missing.push(`telemetry counted ${summary.counted} answers, the clients ${summary.answered}`);
  return missing;
}

export function summaryLines(summary: Summary, missing: string[]): string[] {
  const percent = (share: number) => `${(share * 100).toFixed(1)} %`;
  return [
    'summary',
    `  accuracy before the change        ${percent(summary.accuracyBefore)}`,
    `  accuracy under the change         ${percent(summary.accuracyDegraded)}`,
    `  accuracy after retraining         ${percent(summary.accuracyAfter)}`,
    `  from the change to the alert      ${summary.onsetToAlertSeconds.toFixed(1)} s`,
    `  from the alert to all devices     ${summary.alertToReleaseSeconds.toFixed(1)} s`,
    `  features that moved most          ${summary.movedFeatures.join(', ')}`,
    `  versions                          ${summary.versions.join(' -> ')}`,
    `  requests answered, failed         ${summary.answered}, ${summary.failed}`,
    `  answers counted by telemetry      ${summary.counted}`,
    `  time                              ${summary.totalSeconds.toFixed(0)} s`,
    ...(missing.length === 0
      ? ['every step of the loop was seen to happen']
      : ['not seen:', ...missing.map((each) => `  ${each}`)]),
  ];
}

function points(share: number): string {
  return (share * 100).toFixed(1);
}
