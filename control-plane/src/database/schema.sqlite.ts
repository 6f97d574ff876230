// The schema for SQLite, table by table, in the form that drizzle-kit reads to write migrations.
import { sqliteColumns } from './columns.ts';
import { defineSchema } from './schema.ts';

export const {
  apiKeys,
  joinTokens,
  audit,
  idempotencyKeys,
  devices,
  desiredModels,
  models,
  modelVersions,
  rollouts,
  rolloutDevices,
  rolloutHistory,
  telemetryItems,
  windows,
  labels,
  losses,
  alertRules,
  alerts,
  evaluations,
  notificationChannels,
  samples,
  datasets,
  datasetVersions,
  pipelines,
  runs,
  runSteps,
  runLogs,
} = defineSchema(sqliteColumns);
