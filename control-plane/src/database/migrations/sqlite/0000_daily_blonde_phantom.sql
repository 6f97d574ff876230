CREATE TABLE `alert_rules` (
	`id` text PRIMARY KEY NOT NULL,
	`spec` text NOT NULL,
	`created_at` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `alerts` (
	`id` text PRIMARY KEY NOT NULL,
	`rule_id` text NOT NULL,
	`kind` text NOT NULL,
	`model` text NOT NULL,
	`version` integer NOT NULL,
	`status` text NOT NULL,
	`started_at` integer NOT NULL,
	`fired_at` integer,
	`resolved_at` integer,
	`acknowledged_by` text,
	`silenced_until` integer,
	`detail` text NOT NULL,
	`notified_at` integer
);
--> statement-breakpoint
CREATE INDEX `alerts_rule` ON `alerts` (`rule_id`,`model`,`version`);--> statement-breakpoint
CREATE INDEX `alerts_status` ON `alerts` (`status`);--> statement-breakpoint
CREATE TABLE `api_keys` (
	`id` text PRIMARY KEY NOT NULL,
	`name` text NOT NULL,
	`role` text NOT NULL,
	`hash` text NOT NULL,
	`created_at` integer NOT NULL,
	`last_used_at` integer,
	`revoked_at` integer
);
--> statement-breakpoint
CREATE UNIQUE INDEX `api_keys_hash_unique` ON `api_keys` (`hash`);--> statement-breakpoint
CREATE TABLE `audit` (
	`id` text PRIMARY KEY NOT NULL,
	`at` integer NOT NULL,
	`actor` text NOT NULL,
	`action` text NOT NULL,
	`subject` text NOT NULL,
	`before` text,
	`after` text
);
--> statement-breakpoint
CREATE INDEX `audit_subject` ON `audit` (`subject`);--> statement-breakpoint
CREATE INDEX `audit_at` ON `audit` (`at`);--> statement-breakpoint
CREATE TABLE `dataset_versions` (
	`dataset` text NOT NULL,
	`version` integer NOT NULL,
	`digest` text NOT NULL,
	`files` text NOT NULL,
	`rows` text NOT NULL,
	`dropped` text NOT NULL,
	`schema` text NOT NULL,
	`lineage` text NOT NULL,
	`created_at` integer NOT NULL,
	`created_by` text NOT NULL,
	PRIMARY KEY(`dataset`, `version`)
);
--> statement-breakpoint
CREATE TABLE `datasets` (
	`name` text PRIMARY KEY NOT NULL,
	`description` text NOT NULL,
	`created_at` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `desired_models` (
	`device_id` text NOT NULL,
	`model` text NOT NULL,
	`version` integer NOT NULL,
	`release` text NOT NULL,
	`signature` text NOT NULL,
	`rollout_id` text NOT NULL,
	`since` integer NOT NULL,
	PRIMARY KEY(`device_id`, `model`)
);
--> statement-breakpoint
CREATE INDEX `desired_models_rollout` ON `desired_models` (`rollout_id`);--> statement-breakpoint
CREATE TABLE `devices` (
	`id` text PRIMARY KEY NOT NULL,
	`labels` text NOT NULL,
	`enrolled_at` integer NOT NULL,
	`revoked_at` integer,
	`certificate_serial` text NOT NULL,
	`previous_serial` text,
	`key_digest` text,
	`status` text NOT NULL,
	`session` text,
	`last_seen_at` integer,
	`desired_generation` integer NOT NULL,
	`reported` text,
	`reported_at` integer,
	`facts` text
);
--> statement-breakpoint
CREATE TABLE `evaluations` (
	`rule_id` text NOT NULL,
	`model` text NOT NULL,
	`version` integer NOT NULL,
	`window_start` integer NOT NULL,
	`window_end` integer NOT NULL,
	`samples` integer NOT NULL,
	`verdict` text NOT NULL,
	`detail` text NOT NULL,
	PRIMARY KEY(`rule_id`, `model`, `version`, `window_start`)
);
--> statement-breakpoint
CREATE TABLE `idempotency_keys` (
	`key` text NOT NULL,
	`actor` text NOT NULL,
	`request` text NOT NULL,
	`status` integer,
	`body` text,
	`created_at` integer NOT NULL,
	PRIMARY KEY(`actor`, `key`)
);
--> statement-breakpoint
CREATE TABLE `join_tokens` (
	`id` text PRIMARY KEY NOT NULL,
	`hash` text NOT NULL,
	`labels` text NOT NULL,
	`uses_left` integer NOT NULL,
	`expires_at` integer NOT NULL,
	`created_at` integer NOT NULL,
	`created_by` text NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `join_tokens_hash_unique` ON `join_tokens` (`hash`);--> statement-breakpoint
CREATE TABLE `labels` (
	`device_id` text NOT NULL,
	`inference_id` text NOT NULL,
	`model` text NOT NULL,
	`version` integer NOT NULL,
	`predicted_at` integer NOT NULL,
	`predicted` text NOT NULL,
	`label` text NOT NULL,
	`labelled_at` integer NOT NULL,
	PRIMARY KEY(`device_id`, `inference_id`)
);
--> statement-breakpoint
CREATE INDEX `labels_model_time` ON `labels` (`model`,`predicted_at`);--> statement-breakpoint
CREATE TABLE `losses` (
	`device_id` text NOT NULL,
	`epoch` integer NOT NULL,
	`sequence` integer NOT NULL,
	`received_at` integer NOT NULL,
	`windows` integer NOT NULL,
	`requests` integer NOT NULL,
	`labels` integer NOT NULL,
	PRIMARY KEY(`device_id`, `epoch`, `sequence`)
);
--> statement-breakpoint
CREATE TABLE `model_versions` (
	`model` text NOT NULL,
	`version` integer NOT NULL,
	`digest` text NOT NULL,
	`size_bytes` integer NOT NULL,
	`release` text NOT NULL,
	`signature` text NOT NULL,
	`io` text NOT NULL,
	`manifest` text NOT NULL,
	`golden_samples` integer NOT NULL,
	`lineage` text NOT NULL,
	`metrics` text NOT NULL,
	`created_at` integer NOT NULL,
	`created_by` text NOT NULL,
	PRIMARY KEY(`model`, `version`)
);
--> statement-breakpoint
CREATE TABLE `models` (
	`name` text PRIMARY KEY NOT NULL,
	`description` text NOT NULL,
	`created_at` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `notification_channels` (
	`id` text PRIMARY KEY NOT NULL,
	`name` text NOT NULL,
	`kind` text NOT NULL,
	`url` text NOT NULL,
	`created_at` integer NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `notification_channels_name_unique` ON `notification_channels` (`name`);--> statement-breakpoint
CREATE TABLE `pipelines` (
	`name` text PRIMARY KEY NOT NULL,
	`spec` text NOT NULL,
	`created_at` integer NOT NULL,
	`updated_at` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `rollout_devices` (
	`rollout_id` text NOT NULL,
	`device_id` text NOT NULL,
	`wave` integer NOT NULL,
	`previous` text,
	`assigned_at` integer,
	`online` integer NOT NULL,
	`connection_since` integer NOT NULL,
	`serving_since` integer,
	PRIMARY KEY(`rollout_id`, `device_id`)
);
--> statement-breakpoint
CREATE INDEX `rollout_devices_device` ON `rollout_devices` (`device_id`);--> statement-breakpoint
CREATE TABLE `rollout_history` (
	`id` text PRIMARY KEY NOT NULL,
	`rollout_id` text NOT NULL,
	`at` integer NOT NULL,
	`text` text NOT NULL
);
--> statement-breakpoint
CREATE INDEX `rollout_history_rollout` ON `rollout_history` (`rollout_id`);--> statement-breakpoint
CREATE TABLE `rollouts` (
	`id` text PRIMARY KEY NOT NULL,
	`model` text NOT NULL,
	`version` integer NOT NULL,
	`plan` text NOT NULL,
	`phase` text NOT NULL,
	`state` text NOT NULL,
	`created_at` integer NOT NULL,
	`created_by` text NOT NULL,
	`updated_at` integer NOT NULL
);
--> statement-breakpoint
CREATE INDEX `rollouts_phase` ON `rollouts` (`phase`);--> statement-breakpoint
CREATE INDEX `rollouts_model` ON `rollouts` (`model`);--> statement-breakpoint
CREATE TABLE `run_logs` (
	`run_id` text NOT NULL,
	`line` integer NOT NULL,
	`at` integer NOT NULL,
	`text` text NOT NULL,
	PRIMARY KEY(`run_id`, `line`)
);
--> statement-breakpoint
CREATE TABLE `run_steps` (
	`run_id` text NOT NULL,
	`name` text NOT NULL,
	`step` integer NOT NULL,
	`value` real NOT NULL,
	PRIMARY KEY(`run_id`, `name`, `step`)
);
--> statement-breakpoint
CREATE TABLE `runs` (
	`id` text PRIMARY KEY NOT NULL,
	`pipeline` text NOT NULL,
	`model` text NOT NULL,
	`status` text NOT NULL,
	`stage` text NOT NULL,
	`cause` text NOT NULL,
	`cause_key` text NOT NULL,
	`seed` integer NOT NULL,
	`spec` text NOT NULL,
	`dataset` text,
	`metrics` text NOT NULL,
	`evaluation` text,
	`registered_version` integer,
	`rollout_id` text,
	`error` text,
	`cancel_requested` integer NOT NULL,
	`created_at` integer NOT NULL,
	`started_at` integer,
	`ended_at` integer
);
--> statement-breakpoint
CREATE UNIQUE INDEX `runs_cause` ON `runs` (`pipeline`,`cause_key`);--> statement-breakpoint
CREATE INDEX `runs_status` ON `runs` (`status`);--> statement-breakpoint
CREATE TABLE `samples` (
	`device_id` text NOT NULL,
	`inference_id` text NOT NULL,
	`model` text NOT NULL,
	`version` integer NOT NULL,
	`predicted_at` integer NOT NULL,
	`received_at` integer NOT NULL,
	`reason` text NOT NULL,
	`features` blob NOT NULL,
	`predicted` text,
	`score` real,
	`label` text,
	PRIMARY KEY(`device_id`, `inference_id`)
);
--> statement-breakpoint
CREATE INDEX `samples_model_time` ON `samples` (`model`,`predicted_at`);--> statement-breakpoint
CREATE INDEX `samples_inference` ON `samples` (`inference_id`);--> statement-breakpoint
CREATE TABLE `telemetry_items` (
	`device_id` text NOT NULL,
	`epoch` integer NOT NULL,
	`sequence` integer NOT NULL,
	PRIMARY KEY(`device_id`, `epoch`, `sequence`)
);
--> statement-breakpoint
CREATE TABLE `windows` (
	`device_id` text NOT NULL,
	`epoch` integer NOT NULL,
	`sequence` integer NOT NULL,
	`model` text NOT NULL,
	`version` integer NOT NULL,
	`started_at` integer NOT NULL,
	`ended_at` integer NOT NULL,
	`received_at` integer NOT NULL,
	`succeeded` integer NOT NULL,
	`failed` integer NOT NULL,
	`invalid` integer NOT NULL,
	`rows` integer NOT NULL,
	`body` text NOT NULL,
	PRIMARY KEY(`device_id`, `epoch`, `sequence`)
);
--> statement-breakpoint
CREATE INDEX `windows_model_time` ON `windows` (`model`,`started_at`);--> statement-breakpoint
CREATE INDEX `windows_model_ended` ON `windows` (`model`,`version`,`ended_at`);--> statement-breakpoint
CREATE INDEX `windows_time` ON `windows` (`started_at`);