CREATE TABLE "alert_rules" (
	"id" text PRIMARY KEY NOT NULL,
	"spec" jsonb NOT NULL,
	"created_at" bigint NOT NULL
);
--> statement-breakpoint
CREATE TABLE "alerts" (
	"id" text PRIMARY KEY NOT NULL,
	"rule_id" text NOT NULL,
	"kind" text NOT NULL,
	"model" text NOT NULL,
	"version" bigint NOT NULL,
	"status" text NOT NULL,
	"started_at" bigint NOT NULL,
	"fired_at" bigint,
	"resolved_at" bigint,
	"acknowledged_by" text,
	"silenced_until" bigint,
	"detail" jsonb NOT NULL,
	"notified_at" bigint
);
--> statement-breakpoint
CREATE TABLE "api_keys" (
	"id" text PRIMARY KEY NOT NULL,
	"name" text NOT NULL,
	"role" text NOT NULL,
	"hash" text NOT NULL,
	"created_at" bigint NOT NULL,
	"last_used_at" bigint,
	"revoked_at" bigint,
	CONSTRAINT "api_keys_hash_unique" UNIQUE("hash")
);
--> statement-breakpoint
CREATE TABLE "audit" (
	"id" text PRIMARY KEY NOT NULL,
	"at" bigint NOT NULL,
	"actor" text NOT NULL,
	"action" text NOT NULL,
	"subject" text NOT NULL,
	"before" jsonb,
	"after" jsonb
);
--> statement-breakpoint
CREATE TABLE "dataset_versions" (
	"dataset" text NOT NULL,
	"version" bigint NOT NULL,
	"digest" text NOT NULL,
	"files" jsonb NOT NULL,
	"rows" jsonb NOT NULL,
	"dropped" jsonb NOT NULL,
	"schema" jsonb NOT NULL,
	"lineage" jsonb NOT NULL,
	"created_at" bigint NOT NULL,
	"created_by" text NOT NULL,
	CONSTRAINT "dataset_versions_dataset_version_pk" PRIMARY KEY("dataset","version")
);
--> statement-breakpoint
CREATE TABLE "datasets" (
	"name" text PRIMARY KEY NOT NULL,
	"description" text NOT NULL,
	"created_at" bigint NOT NULL
);
--> statement-breakpoint
CREATE TABLE "desired_models" (
	"device_id" text NOT NULL,
	"model" text NOT NULL,
	"version" bigint NOT NULL,
	"release" text NOT NULL,
	"signature" text NOT NULL,
	"rollout_id" text NOT NULL,
	"since" bigint NOT NULL,
	CONSTRAINT "desired_models_device_id_model_pk" PRIMARY KEY("device_id","model")
);
--> statement-breakpoint
CREATE TABLE "devices" (
	"id" text PRIMARY KEY NOT NULL,
	"labels" jsonb NOT NULL,
	"enrolled_at" bigint NOT NULL,
	"revoked_at" bigint,
	"certificate_serial" text NOT NULL,
	"previous_serial" text,
	"key_digest" text,
	"status" text NOT NULL,
	"session" text,
	"last_seen_at" bigint,
	"desired_generation" bigint NOT NULL,
	"reported" jsonb,
	"reported_at" bigint,
	"facts" jsonb
);
--> statement-breakpoint
CREATE TABLE "evaluations" (
	"rule_id" text NOT NULL,
	"model" text NOT NULL,
	"version" bigint NOT NULL,
	"window_start" bigint NOT NULL,
	"window_end" bigint NOT NULL,
	"samples" bigint NOT NULL,
	"verdict" text NOT NULL,
	"detail" jsonb NOT NULL,
	CONSTRAINT "evaluations_rule_id_model_version_window_start_pk" PRIMARY KEY("rule_id","model","version","window_start")
);
--> statement-breakpoint
CREATE TABLE "idempotency_keys" (
	"key" text NOT NULL,
	"actor" text NOT NULL,
	"request" text NOT NULL,
	"status" bigint,
	"body" text,
	"created_at" bigint NOT NULL,
	CONSTRAINT "idempotency_keys_actor_key_pk" PRIMARY KEY("actor","key")
);
--> statement-breakpoint
CREATE TABLE "join_tokens" (
	"id" text PRIMARY KEY NOT NULL,
	"hash" text NOT NULL,
	"labels" jsonb NOT NULL,
	"uses_left" bigint NOT NULL,
	"expires_at" bigint NOT NULL,
	"created_at" bigint NOT NULL,
	"created_by" text NOT NULL,
	CONSTRAINT "join_tokens_hash_unique" UNIQUE("hash")
);
--> statement-breakpoint
CREATE TABLE "labels" (
	"device_id" text NOT NULL,
	"inference_id" text NOT NULL,
	"model" text NOT NULL,
	"version" bigint NOT NULL,
	"predicted_at" bigint NOT NULL,
	"predicted" text NOT NULL,
	"label" text NOT NULL,
	"labelled_at" bigint NOT NULL,
	CONSTRAINT "labels_device_id_inference_id_pk" PRIMARY KEY("device_id","inference_id")
);
--> statement-breakpoint
CREATE TABLE "losses" (
	"device_id" text NOT NULL,
	"epoch" bigint NOT NULL,
	"sequence" bigint NOT NULL,
	"received_at" bigint NOT NULL,
	"windows" bigint NOT NULL,
	"requests" bigint NOT NULL,
	"labels" bigint NOT NULL,
	CONSTRAINT "losses_device_id_epoch_sequence_pk" PRIMARY KEY("device_id","epoch","sequence")
);
--> statement-breakpoint
CREATE TABLE "model_versions" (
	"model" text NOT NULL,
	"version" bigint NOT NULL,
	"digest" text NOT NULL,
	"size_bytes" bigint NOT NULL,
	"release" text NOT NULL,
	"signature" text NOT NULL,
	"io" jsonb NOT NULL,
	"manifest" jsonb NOT NULL,
	"golden_samples" bigint NOT NULL,
	"lineage" jsonb NOT NULL,
	"metrics" jsonb NOT NULL,
	"created_at" bigint NOT NULL,
	"created_by" text NOT NULL,
	CONSTRAINT "model_versions_model_version_pk" PRIMARY KEY("model","version")
);
--> statement-breakpoint
CREATE TABLE "models" (
	"name" text PRIMARY KEY NOT NULL,
	"description" text NOT NULL,
	"created_at" bigint NOT NULL
);
--> statement-breakpoint
CREATE TABLE "notification_channels" (
	"id" text PRIMARY KEY NOT NULL,
	"name" text NOT NULL,
	"kind" text NOT NULL,
	"url" text NOT NULL,
	"created_at" bigint NOT NULL,
	CONSTRAINT "notification_channels_name_unique" UNIQUE("name")
);
--> statement-breakpoint
CREATE TABLE "pipelines" (
	"name" text PRIMARY KEY NOT NULL,
	"spec" jsonb NOT NULL,
	"created_at" bigint NOT NULL,
	"updated_at" bigint NOT NULL
);
--> statement-breakpoint
CREATE TABLE "rollout_devices" (
	"rollout_id" text NOT NULL,
	"device_id" text NOT NULL,
	"wave" bigint NOT NULL,
	"previous" jsonb,
	"assigned_at" bigint,
	"online" boolean NOT NULL,
	"connection_since" bigint NOT NULL,
	"serving_since" bigint,
	CONSTRAINT "rollout_devices_rollout_id_device_id_pk" PRIMARY KEY("rollout_id","device_id")
);
--> statement-breakpoint
CREATE TABLE "rollout_history" (
	"id" text PRIMARY KEY NOT NULL,
	"rollout_id" text NOT NULL,
	"at" bigint NOT NULL,
	"text" text NOT NULL
);
--> statement-breakpoint
CREATE TABLE "rollouts" (
	"id" text PRIMARY KEY NOT NULL,
	"model" text NOT NULL,
	"version" bigint NOT NULL,
	"plan" jsonb NOT NULL,
	"phase" text NOT NULL,
	"state" jsonb NOT NULL,
	"created_at" bigint NOT NULL,
	"created_by" text NOT NULL,
	"updated_at" bigint NOT NULL
);
--> statement-breakpoint
CREATE TABLE "run_logs" (
	"run_id" text NOT NULL,
	"line" bigint NOT NULL,
	"at" bigint NOT NULL,
	"text" text NOT NULL,
	CONSTRAINT "run_logs_run_id_line_pk" PRIMARY KEY("run_id","line")
);
--> statement-breakpoint
CREATE TABLE "run_steps" (
	"run_id" text NOT NULL,
	"name" text NOT NULL,
	"step" bigint NOT NULL,
	"value" double precision NOT NULL,
	CONSTRAINT "run_steps_run_id_name_step_pk" PRIMARY KEY("run_id","name","step")
);
--> statement-breakpoint
CREATE TABLE "runs" (
	"id" text PRIMARY KEY NOT NULL,
	"pipeline" text NOT NULL,
	"model" text NOT NULL,
	"status" text NOT NULL,
	"stage" text NOT NULL,
	"cause" jsonb NOT NULL,
	"cause_key" text NOT NULL,
	"seed" bigint NOT NULL,
	"spec" jsonb NOT NULL,
	"dataset" jsonb,
	"metrics" jsonb NOT NULL,
	"evaluation" jsonb,
	"registered_version" bigint,
	"rollout_id" text,
	"error" text,
	"cancel_requested" boolean NOT NULL,
	"created_at" bigint NOT NULL,
	"started_at" bigint,
	"ended_at" bigint
);
--> statement-breakpoint
CREATE TABLE "samples" (
	"device_id" text NOT NULL,
	"inference_id" text NOT NULL,
	"model" text NOT NULL,
	"version" bigint NOT NULL,
	"predicted_at" bigint NOT NULL,
	"received_at" bigint NOT NULL,
	"reason" text NOT NULL,
	"features" "bytea" NOT NULL,
	"predicted" text,
	"score" double precision,
	"label" text,
	CONSTRAINT "samples_device_id_inference_id_pk" PRIMARY KEY("device_id","inference_id")
);
--> statement-breakpoint
CREATE TABLE "telemetry_items" (
	"device_id" text NOT NULL,
	"epoch" bigint NOT NULL,
	"sequence" bigint NOT NULL,
	CONSTRAINT "telemetry_items_device_id_epoch_sequence_pk" PRIMARY KEY("device_id","epoch","sequence")
);
--> statement-breakpoint
CREATE TABLE "windows" (
	"device_id" text NOT NULL,
	"epoch" bigint NOT NULL,
	"sequence" bigint NOT NULL,
	"model" text NOT NULL,
	"version" bigint NOT NULL,
	"started_at" bigint NOT NULL,
	"ended_at" bigint NOT NULL,
	"received_at" bigint NOT NULL,
	"succeeded" bigint NOT NULL,
	"failed" bigint NOT NULL,
	"invalid" bigint NOT NULL,
	"rows" bigint NOT NULL,
	"body" jsonb NOT NULL,
	CONSTRAINT "windows_device_id_epoch_sequence_pk" PRIMARY KEY("device_id","epoch","sequence")
);
--> statement-breakpoint
CREATE INDEX "alerts_rule" ON "alerts" USING btree ("rule_id","model","version");--> statement-breakpoint
CREATE INDEX "alerts_status" ON "alerts" USING btree ("status");--> statement-breakpoint
CREATE INDEX "audit_subject" ON "audit" USING btree ("subject");--> statement-breakpoint
CREATE INDEX "audit_at" ON "audit" USING btree ("at");--> statement-breakpoint
CREATE INDEX "desired_models_rollout" ON "desired_models" USING btree ("rollout_id");--> statement-breakpoint
CREATE INDEX "labels_model_time" ON "labels" USING btree ("model","predicted_at");--> statement-breakpoint
CREATE INDEX "rollout_devices_device" ON "rollout_devices" USING btree ("device_id");--> statement-breakpoint
CREATE INDEX "rollout_history_rollout" ON "rollout_history" USING btree ("rollout_id");--> statement-breakpoint
CREATE INDEX "rollouts_phase" ON "rollouts" USING btree ("phase");--> statement-breakpoint
CREATE INDEX "rollouts_model" ON "rollouts" USING btree ("model");--> statement-breakpoint
CREATE UNIQUE INDEX "runs_cause" ON "runs" USING btree ("pipeline","cause_key");--> statement-breakpoint
CREATE INDEX "runs_status" ON "runs" USING btree ("status");--> statement-breakpoint
CREATE INDEX "samples_model_time" ON "samples" USING btree ("model","predicted_at");--> statement-breakpoint
CREATE INDEX "samples_inference" ON "samples" USING btree ("inference_id");--> statement-breakpoint
CREATE INDEX "windows_model_time" ON "windows" USING btree ("model","started_at");--> statement-breakpoint
CREATE INDEX "windows_model_ended" ON "windows" USING btree ("model","version","ended_at");--> statement-breakpoint
CREATE INDEX "windows_time" ON "windows" USING btree ("started_at");