CREATE TABLE "monitoring_references" (
	"id" text PRIMARY KEY NOT NULL,
	"model" text NOT NULL,
	"version" bigint NOT NULL,
	"source" text NOT NULL,
	"profile" jsonb NOT NULL,
	"from_at" bigint NOT NULL,
	"to_at" bigint NOT NULL,
	"frozen_at" bigint NOT NULL,
	"frozen_by" text NOT NULL,
	"why" text NOT NULL,
	"alert_id" text
);
--> statement-breakpoint
CREATE INDEX "monitoring_references_version" ON "monitoring_references" USING btree ("model","version");