CREATE TABLE "model_aliases" (
	"model" text NOT NULL,
	"alias" text NOT NULL,
	"version" bigint NOT NULL,
	"updated_at" bigint NOT NULL,
	"updated_by" text NOT NULL,
	CONSTRAINT "model_aliases_model_alias_pk" PRIMARY KEY("model","alias")
);
--> statement-breakpoint
CREATE TABLE "rollout_waves" (
	"rollout_id" text NOT NULL,
	"wave" bigint NOT NULL,
	"started_at" bigint NOT NULL,
	"ended_at" bigint,
	"outcome" text NOT NULL,
	"gates" jsonb NOT NULL,
	"counts" jsonb NOT NULL,
	CONSTRAINT "rollout_waves_rollout_id_wave_pk" PRIMARY KEY("rollout_id","wave")
);
--> statement-breakpoint
ALTER TABLE "desired_models" ADD COLUMN "attempt" bigint;--> statement-breakpoint
ALTER TABLE "devices" ADD COLUMN "published_generation" bigint;--> statement-breakpoint
ALTER TABLE "devices" ADD COLUMN "conflict_since" bigint;--> statement-breakpoint
ALTER TABLE "rollout_devices" ADD COLUMN "rank" bigint;--> statement-breakpoint
ALTER TABLE "rollout_devices" ADD COLUMN "attempt" bigint;--> statement-breakpoint
ALTER TABLE "rollout_devices" ADD COLUMN "outcome" text;--> statement-breakpoint
ALTER TABLE "rollout_devices" ADD COLUMN "detail" text;--> statement-breakpoint
ALTER TABLE "rollout_history" ADD COLUMN "evidence" jsonb;--> statement-breakpoint
ALTER TABLE "rollouts" ADD COLUMN "planned_at" bigint;