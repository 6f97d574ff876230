// Every table of the control plane, written once over the column vocabulary. JSON columns are parsed by the store that
// reads them, with the schema of what it expects.
import { sql } from 'drizzle-orm';
import type { Columns } from './columns.ts';

export function defineSchema({
  table,
  text,
  integer,
  real,
  blob,
  json,
  packed,
  instant,
  bool,
  index,
  uniqueIndex,
  primaryKey,
}: Columns) {
  // access
  const apiKeys = table('api_keys', {
    id: text().primaryKey(),
    name: text().notNull(),
    role: text().notNull(),
    /** SHA-256 of the secret, which is random and long enough not to need a slow hash. */
    hash: text().notNull().unique(),
    createdAt: instant().notNull(),
    lastUsedAt: instant(),
    revokedAt: instant(),
  });
  const joinTokens = table('join_tokens', {
    id: text().primaryKey(),
    hash: text().notNull().unique(),
    labels: json().notNull(),
    usesLeft: integer().notNull(),
    /** How many there were at first. */
    uses: integer(),
    expiresAt: instant().notNull(),
    createdAt: instant().notNull(),
    createdBy: text().notNull(),
    revokedAt: instant(),
  });
  const audit = table(
    'audit',
    {
      id: text().primaryKey(),
      at: instant().notNull(),
      actor: text().notNull(),
      action: text().notNull(),
      subject: text().notNull(),
      before: json(),
      after: json(),
    },
    (t) => [index('audit_subject').on(t.subject), index('audit_at').on(t.at)],
  );
  const idempotencyKeys = table(
    'idempotency_keys',
    {
      key: text().notNull(),
      actor: text().notNull(),
      /** Hash of method, path and body: the same key with another request is refused. */
      request: text().notNull(),
      /** Null while the first request is being worked on. */
      status: integer(),
      body: text(),
      createdAt: instant().notNull(),
    },
    (t) => [primaryKey({ columns: [t.actor, t.key] })],
  );

  // fleet
  const devices = table(
    'devices',
    {
      id: text().primaryKey(),
      labels: json().notNull(),
      enrolledAt: instant().notNull(),
      /** When it was removed. Its id and its key are barred from then on … */
      revokedAt: instant(),
      /** … until an operator lets it join again. */
      readmittedAt: instant(),
      /** Serial number of the newest certificate; earlier ones are refused. */
      certificateSerial: text().notNull(),
      /** The one before it, accepted until the newest was used once: the answer to a renewal can get lost. */
      previousSerial: text(),
      /** SHA-256 of the device's public key (SPKI), by which a device that lost the answer to its enrolment is known again. */
      keyDigest: text(),
      status: text().notNull(),
      session: text(),
      lastSeenAt: instant(),
      desiredGeneration: integer().notNull(),
      /** The highest generation that the device was ever told; null in rows of before: all that there were. */
      publishedGeneration: integer(),
      /** Since when it is ahead of this server, as after a restored backup; an operator decides what becomes of it. */
      conflictSince: instant(),
      /** By this word of an operator it keeps what it runs, and runs no model that it did not: only newer rollouts take it. */
      keptWord: text(),
      /** Which starts of its agent have spoken, `Instances`; null: none that says so. */
      instances: json(),
      reported: json(),
      reportedAt: instant(),
      facts: json(),
    },
    (t) => [index('devices_key').on(t.keyDigest)],
  );
  const desiredModels = table(
    'desired_models',
    {
      deviceId: text().notNull(),
      model: text().notNull(),
      version: integer().notNull(),
      release: text().notNull(),
      signature: text().notNull(),
      rolloutId: text().notNull(),
      /** Which try of this rollout on this device; null: the first. */
      attempt: integer(),
      /** When and how fast it may be taken up; null: at once. */
      terms: json(),
      /** What is to run beside it, and by which rollout. */
      beside: json(),
      since: instant().notNull(),
    },
    (t) => [primaryKey({ columns: [t.deviceId, t.model] }), index('desired_models_rollout').on(t.rolloutId)],
  );
  /** Every version that a device was ever told to run: what it may speak of in telemetry and samples. */
  const assignedModels = table(
    'assigned_models',
    { deviceId: text().notNull(), model: text().notNull(), version: integer().notNull() },
    (t) => [primaryKey({ columns: [t.deviceId, t.model, t.version] })],
  );
  /** What devices say they run and the registry does not know; by each device's newest report. */
  const unknownReleases = table(
    'unknown_releases',
    {
      deviceId: text().notNull(),
      model: text().notNull(),
      version: integer().notNull(),
      /** Empty when the device did not say it: then the registry has no such version. */
      release: text().notNull(),
    },
    (t) => [
      primaryKey({ columns: [t.deviceId, t.model, t.version, t.release] }),
      index('unknown_releases_model').on(t.model),
    ],
  );
  /** What devices sent that counts nowhere, and why. */
  const disregarded = table(
    'disregarded',
    {
      deviceId: text().notNull(),
      /** `requests`, `labels` or `samples`. */
      what: text().notNull(),
      reason: text().notNull(),
      model: text().notNull(),
      version: integer().notNull(),
      /** Empty when the device did not say it. */
      release: text().notNull(),
      count: integer().notNull(),
      lastAt: instant().notNull(),
    },
    (t) => [primaryKey({ columns: [t.deviceId, t.what, t.reason, t.model, t.version, t.release] })],
  );

  // registry
  const models = table('models', {
    name: text().primaryKey(),
    description: text().notNull(),
    createdAt: instant().notNull(),
  });
  const modelVersions = table(
    'model_versions',
    {
      model: text().notNull(),
      version: integer().notNull(),
      digest: text().notNull(),
      sizeBytes: integer().notNull(),
      /** SHA-256 of the release document, a blob. */
      release: text().notNull(),
      signature: text().notNull(),
      io: json().notNull(),
      manifest: json().notNull(),
      goldenSamples: integer().notNull(),
      lineage: json().notNull(),
      metrics: json().notNull(),
      /** The files that devices pick from, `VariantSummary`s; null where there is one only. */
      variants: json(),
      createdAt: instant().notNull(),
      createdBy: text().notNull(),
    },
    (t) => [primaryKey({ columns: [t.model, t.version] })],
  );
  /** Names for versions that move, as `stable`. */
  const modelAliases = table(
    'model_aliases',
    {
      model: text().notNull(),
      alias: text().notNull(),
      version: integer().notNull(),
      updatedAt: instant().notNull(),
      updatedBy: text().notNull(),
    },
    (t) => [primaryKey({ columns: [t.model, t.alias] })],
  );
  /** The highest number that anybody gave to a version of the model, registered here or not: pushes go on above it. */
  const versionMarks = table('version_marks', { model: text().primaryKey(), highest: integer().notNull() });

  // rollouts
  const rollouts = table(
    'rollouts',
    {
      id: text().primaryKey(),
      model: text().notNull(),
      version: integer().notNull(),
      plan: json().notNull(),
      phase: text().notNull(),
      state: json().notNull(),
      createdAt: instant().notNull(),
      createdBy: text().notNull(),
      updatedAt: instant().notNull(),
      /** When it was decided which device is in which wave; null: not yet. */
      plannedAt: instant(),
      /** The trace of the request that began it (W3C); null: it is not traced. */
      traceparent: text(),
      /** When its spans were sent; null: not yet. */
      tracedAt: instant(),
    },
    (t) => [index('rollouts_phase').on(t.phase), index('rollouts_model').on(t.model)],
  );
  const rolloutDevices = table(
    'rollout_devices',
    {
      rolloutId: text().notNull(),
      deviceId: text().notNull(),
      wave: integer().notNull(),
      /** Its place in the order of waves. */
      rank: integer(),
      /** Of earlier programs: a device goes back to what has completed, which is looked up when it goes back. */
      previous: json(),
      /** When the new version was made desired; null while its wave has not begun. */
      assignedAt: instant(),
      /** Whether it was online when last looked at, and since when that has been so, by this server's clock. */
      online: bool().notNull(),
      connectionSince: instant().notNull(),
      /** When it was first seen to serve the new version, by this server's clock. */
      servingSince: instant(),
      /** Which try it is; null: the first. */
      attempt: integer(),
      /** Waves in which it comes again, after this one; null: none. */
      later: json(),
      /** Of those that are traced: how it took the version up, `Activation`. */
      activation: json(),
      /** How it ended, for good, with the words for it; null while it has not. */
      outcome: text(),
      detail: text(),
    },
    (t) => [primaryKey({ columns: [t.rolloutId, t.deviceId] }), index('rollout_devices_device').on(t.deviceId)],
  );
  /** What became of each wave that has begun. */
  const rolloutWaves = table(
    'rollout_waves',
    {
      rolloutId: text().notNull(),
      wave: integer().notNull(),
      startedAt: instant().notNull(),
      endedAt: instant(),
      outcome: text().notNull(),
      /** Verdicts and numbers as they were last judged. */
      gates: json().notNull(),
      /** Devices by where they stood. */
      counts: json().notNull(),
    },
    (t) => [primaryKey({ columns: [t.rolloutId, t.wave] })],
  );
  const rolloutHistory = table(
    'rollout_history',
    {
      id: text().primaryKey(),
      rolloutId: text().notNull(),
      at: instant().notNull(),
      text: text().notNull(),
      /** The verdicts and counts that a transition was decided on. */
      evidence: json(),
    },
    (t) => [index('rollout_history_rollout').on(t.rolloutId)],
  );

  const backtests = table(
    'backtests',
    {
      id: text().primaryKey(),
      model: text().notNull(),
      version: integer().notNull(),
      status: text().notNull(),
      /** What was asked. */
      asked: json().notNull(),
      /** The rollout whose gate it is, with the bounds of that gate. */
      rolloutId: text(),
      bounds: json(),
      report: json(),
      /** Why there is no report, and by whose fault. */
      failure: json(),
      /** Of the rollout's gate. */
      verdict: json(),
      createdAt: instant().notNull(),
      createdBy: text().notNull(),
      startedAt: instant(),
      endedAt: instant(),
    },
    (t) => [
      index('backtests_version').on(t.model, t.version),
      index('backtests_status').on(t.status),
      index('backtests_rollout').on(t.rolloutId),
    ],
  );

  // telemetry
  const telemetryItems = table(
    'telemetry_items',
    {
      deviceId: text().notNull(),
      epoch: instant().notNull(),
      sequence: integer().notNull(),
    },
    (t) => [primaryKey({ columns: [t.deviceId, t.epoch, t.sequence] })],
  );
  const windows = table(
    'windows',
    {
      deviceId: text().notNull(),
      epoch: instant().notNull(),
      sequence: integer().notNull(),
      model: text().notNull(),
      version: integer().notNull(),
      startedAt: instant().notNull(),
      endedAt: instant().notNull(),
      receivedAt: instant().notNull(),
      succeeded: integer().notNull(),
      failed: integer().notNull(),
      invalid: integer().notNull(),
      rows: integer().notNull(),
      /** Set when the device ran another release under this number than the registry has: kept, but counted nowhere. */
      foreignRelease: text(),
      /** Grows with every window that is stored. */
      arrival: integer().notNull().default(0),
      /** The latencies, as `packSketch` writes them, and the mean confidence; null in rows of before, where the body has them. */
      latency: blob(),
      confidenceSum: real(),
      confidenceCount: integer(),
      /** The whole window as it came (`Window` of the protocol). */
      body: packed().notNull(),
    },
    (t) => [
      primaryKey({ columns: [t.deviceId, t.epoch, t.sequence] }),
      index('windows_arrival').on(t.arrival),
      index('windows_model_time').on(t.model, t.startedAt),
      index('windows_model_ended').on(t.model, t.version, t.endedAt),
      index('windows_time').on(t.startedAt),
    ],
  );
  /** Windows of one model version put together by the time they began; windows that count nowhere are not among them. */
  const rollups = table(
    'rollups',
    {
      /** Seconds. */
      level: integer().notNull(),
      /** Empty: of all devices. */
      deviceId: text().notNull(),
      model: text().notNull(),
      version: integer().notNull(),
      startedAt: instant().notNull(),
      windows: integer().notNull(),
      succeeded: integer().notNull(),
      failed: integer().notNull(),
      invalid: integer().notNull(),
      rows: integer().notNull(),
      latency: blob().notNull(),
      confidenceSum: real().notNull(),
      confidenceCount: integer().notNull(),
      classes: packed().notNull(),
      /** Failed requests by the code of their error; null in rows of before. */
      failures: json(),
      /** The merged window, of all devices and from a quarter of an hour on: what drift is judged on. */
      body: packed(),
    },
    (t) => [
      primaryKey({ columns: [t.level, t.deviceId, t.model, t.version, t.startedAt] }),
      index('rollups_time').on(t.level, t.startedAt),
      // What most charts read, among the rollups of all devices.
      index('rollups_fleet').on(t.level, t.startedAt, t.model, t.version).where(sql`device_id = ''`),
    ],
  );
  /** The same by a label of devices that was chosen for charts, as it was when a window came. */
  const labelRollups = table(
    'label_rollups',
    {
      /** Seconds. */
      level: integer().notNull(),
      label: text().notNull(),
      value: text().notNull(),
      model: text().notNull(),
      version: integer().notNull(),
      startedAt: instant().notNull(),
      windows: integer().notNull(),
      succeeded: integer().notNull(),
      failed: integer().notNull(),
      invalid: integer().notNull(),
      rows: integer().notNull(),
      latency: blob().notNull(),
      confidenceSum: real().notNull(),
      confidenceCount: integer().notNull(),
      classes: json().notNull(),
      failures: json().notNull(),
    },
    (t) => [
      // In the order in which a chart reads.
      primaryKey({ columns: [t.level, t.label, t.startedAt, t.value, t.model, t.version] }),
      index('label_rollups_time').on(t.level, t.startedAt),
    ],
  );
  /** How far it has come: the highest arrival that the rollups of a part hold, or the start before which windows were let go of. */
  const telemetryMarks = table('telemetry_marks', { name: text().primaryKey(), value: integer().notNull() });
  /** Numbers up to this one of a device and epoch were taken; those above stand one by one. */
  const telemetryFloors = table(
    'telemetry_floors',
    { deviceId: text().notNull(), epoch: instant().notNull(), sequence: integer().notNull() },
    (t) => [primaryKey({ columns: [t.deviceId, t.epoch] })],
  );
  const labels = table(
    'labels',
    {
      deviceId: text().notNull(),
      inferenceId: text().notNull(),
      model: text().notNull(),
      version: integer().notNull(),
      predictedAt: instant().notNull(),
      predicted: text().notNull(),
      label: text().notNull(),
      labelledAt: instant().notNull(),
      /** As in `windows`. */
      foreignRelease: text(),
    },
    (t) => [
      primaryKey({ columns: [t.deviceId, t.inferenceId] }),
      index('labels_model_time').on(t.model, t.predictedAt),
      index('labels_time').on(t.predictedAt),
    ],
  );
  const losses = table(
    'losses',
    {
      deviceId: text().notNull(),
      epoch: instant().notNull(),
      sequence: integer().notNull(),
      receivedAt: instant().notNull(),
      windows: integer().notNull(),
      requests: integer().notNull(),
      labels: integer().notNull(),
    },
    (t) => [primaryKey({ columns: [t.deviceId, t.epoch, t.sequence] }), index('losses_time').on(t.receivedAt)],
  );
  /** Messages that were not understood: the last of each device, which take turns in its slots. */
  const malformed = table(
    'malformed',
    {
      deviceId: text().notNull(),
      slot: integer().notNull(),
      /** How many of the device had come with it. */
      number: integer().notNull(),
      at: instant().notNull(),
      channel: text().notNull(),
      reason: text().notNull(),
      bytes: integer().notNull(),
      head: blob().notNull(),
    },
    (t) => [primaryKey({ columns: [t.deviceId, t.slot] }), index('malformed_time').on(t.at)],
  );

  // monitoring
  const alertRules = table('alert_rules', {
    id: text().primaryKey(),
    spec: json().notNull(),
    createdAt: instant().notNull(),
    /** A deleted rule keeps its row: a default rule does not come back. */
    deletedAt: instant(),
  });
  const alerts = table(
    'alerts',
    {
      id: text().primaryKey(),
      ruleId: text().notNull(),
      kind: text().notNull(),
      model: text().notNull(),
      version: integer().notNull(),
      /** The rest of what it is about, as JSON with sorted keys: a device, a site. Model and version are '' and 0 where there is none. */
      subject: text().notNull().default(''),
      status: text().notNull(),
      startedAt: instant().notNull(),
      firedAt: instant(),
      resolvedAt: instant(),
      acknowledgedBy: text(),
      silencedUntil: instant(),
      /** Summary, features, scope and value. */
      detail: json().notNull(),
      notifiedAt: instant(),
    },
    (t) => [index('alerts_rule').on(t.ruleId, t.model, t.version), index('alerts_status').on(t.status)],
  );
  const evaluations = table(
    'evaluations',
    {
      ruleId: text().notNull(),
      model: text().notNull(),
      version: integer().notNull(),
      windowStart: instant().notNull(),
      windowEnd: instant().notNull(),
      /** Samples or labels that were judged. */
      samples: integer().notNull(),
      /** `calm`, `unsettled`, `suspicious`, `insufficient`. */
      verdict: text().notNull(),
      detail: json().notNull(),
    },
    (t) => [
      primaryKey({ columns: [t.ruleId, t.model, t.version, t.windowStart] }),
      index('evaluations_time').on(t.windowEnd),
    ],
  );
  /** What drift is judged against where it is not the manifest: a first period in the field, or what somebody accepted. */
  const monitoringReferences = table(
    'monitoring_references',
    {
      id: text().primaryKey(),
      model: text().notNull(),
      version: integer().notNull(),
      /** `field` or `accepted`. */
      source: text().notNull(),
      profile: json().notNull(),
      fromAt: instant().notNull(),
      toAt: instant().notNull(),
      frozenAt: instant().notNull(),
      frozenBy: text().notNull(),
      why: text().notNull(),
      alertId: text(),
    },
    (t) => [index('monitoring_references_version').on(t.model, t.version)],
  );
  const notificationChannels = table('notification_channels', {
    id: text().primaryKey(),
    name: text().notNull().unique(),
    kind: text().notNull(),
    url: text().notNull(),
    createdAt: instant().notNull(),
    /** What messages are signed with; made at the first message of channels older than signatures. */
    secret: text(),
    /** The one before, which signs too until then: a receiver takes the new one when it can. */
    previousSecret: text(),
    previousSecretUntil: instant(),
    /** All else of the channel. */
    settings: json(),
  });
  const silences = table('silences', {
    id: text().primaryKey(),
    match: json().notNull(),
    comment: text().notNull(),
    createdBy: text().notNull(),
    createdAt: instant().notNull(),
    startsAt: instant().notNull(),
    endsAt: instant().notNull(),
  });
  /** What a channel was told of a group of alerts, so that a restart neither forgets nor repeats. */
  const deliveries = table(
    'deliveries',
    {
      channelId: text().notNull(),
      groupKey: text().notNull(),
      state: json().notNull(),
    },
    (t) => [primaryKey({ columns: [t.channelId, t.groupKey] })],
  );

  // data
  const samples = table(
    'samples',
    {
      deviceId: text().notNull(),
      inferenceId: text().notNull(),
      model: text().notNull(),
      version: integer().notNull(),
      predictedAt: instant().notNull(),
      receivedAt: instant().notNull(),
      reason: text().notNull(),
      /** Little-endian float32, in the order of the manifest's features; NaN is missing. */
      features: blob().notNull(),
      predicted: text(),
      score: real(),
      /** From the device with the sample, or from `POST /labels`; labels that came with telemetry are in `labels`. */
      label: text(),
      /** What a shadow said, of a disagreement. */
      other: json(),
    },
    (t) => [
      primaryKey({ columns: [t.deviceId, t.inferenceId] }),
      index('samples_model_time').on(t.model, t.predictedAt),
      index('samples_inference').on(t.inferenceId),
      index('samples_time').on(t.predictedAt),
    ],
  );
  const datasets = table('datasets', {
    name: text().primaryKey(),
    description: text().notNull(),
    createdAt: instant().notNull(),
  });
  const datasetVersions = table(
    'dataset_versions',
    {
      dataset: text().notNull(),
      version: integer().notNull(),
      digest: text().notNull(),
      /** Blob digests of the Parquet files by split. */
      files: json().notNull(),
      rows: json().notNull(),
      dropped: json().notNull(),
      schema: json().notNull(),
      lineage: json().notNull(),
      createdAt: instant().notNull(),
      createdBy: text().notNull(),
    },
    (t) => [primaryKey({ columns: [t.dataset, t.version] })],
  );

  // training
  const pipelines = table('pipelines', {
    name: text().primaryKey(),
    spec: json().notNull(),
    createdAt: instant().notNull(),
    updatedAt: instant().notNull(),
  });
  const runs = table(
    'runs',
    {
      id: text().primaryKey(),
      pipeline: text().notNull(),
      model: text().notNull(),
      status: text().notNull(),
      stage: text().notNull(),
      cause: json().notNull(),
      /** `alert:ID` or `manual:ID`: a cause starts one run only. */
      causeKey: text().notNull(),
      seed: integer().notNull(),
      spec: json().notNull(),
      dataset: json(),
      metrics: json().notNull(),
      evaluation: json(),
      registeredVersion: integer(),
      rolloutId: text(),
      error: text(),
      cancelRequested: bool().notNull(),
      createdAt: instant().notNull(),
      startedAt: instant(),
      endedAt: instant(),
    },
    (t) => [uniqueIndex('runs_cause').on(t.pipeline, t.causeKey), index('runs_status').on(t.status)],
  );
  const runSteps = table(
    'run_steps',
    { runId: text().notNull(), name: text().notNull(), step: integer().notNull(), value: real().notNull() },
    (t) => [primaryKey({ columns: [t.runId, t.name, t.step] })],
  );
  const runLogs = table(
    'run_logs',
    { runId: text().notNull(), line: integer().notNull(), at: instant().notNull(), text: text().notNull() },
    (t) => [primaryKey({ columns: [t.runId, t.line] }), index('run_logs_time').on(t.at)],
  );

  return {
    apiKeys,
    joinTokens,
    audit,
    idempotencyKeys,
    devices,
    desiredModels,
    assignedModels,
    unknownReleases,
    disregarded,
    models,
    modelVersions,
    modelAliases,
    versionMarks,
    rollouts,
    rolloutDevices,
    rolloutWaves,
    rolloutHistory,
    backtests,
    telemetryItems,
    windows,
    rollups,
    labelRollups,
    telemetryMarks,
    telemetryFloors,
    labels,
    losses,
    malformed,
    alertRules,
    alerts,
    evaluations,
    monitoringReferences,
    notificationChannels,
    silences,
    deliveries,
    samples,
    datasets,
    datasetVersions,
    pipelines,
    runs,
    runSteps,
    runLogs,
  };
}
export type Schema = ReturnType<typeof defineSchema>;
