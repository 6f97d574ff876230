CREATE TABLE "backtests" (
	"id" text PRIMARY KEY NOT NULL,
	"model" text NOT NULL,
	"version" bigint NOT NULL,
	"status" text NOT NULL,
	"asked" jsonb NOT NULL,
	"rollout_id" text,
	"bounds" jsonb,
	"report" jsonb,
	"failure" jsonb,
	"verdict" jsonb,
	"created_at" bigint NOT NULL,
	"created_by" text NOT NULL,
	"started_at" bigint,
	"ended_at" bigint
);
--> statement-breakpoint
CREATE INDEX "backtests_version" ON "backtests" USING btree ("model","version");--> statement-breakpoint
CREATE INDEX "backtests_status" ON "backtests" USING btree ("status");--> statement-breakpoint
CREATE INDEX "backtests_rollout" ON "backtests" USING btree ("rollout_id");