CREATE TABLE "rollups" (
	"level" bigint NOT NULL,
	"device_id" text NOT NULL,
	"model" text NOT NULL,
	"version" bigint NOT NULL,
	"started_at" bigint NOT NULL,
	"windows" bigint NOT NULL,
	"succeeded" bigint NOT NULL,
	"failed" bigint NOT NULL,
	"invalid" bigint NOT NULL,
	"rows" bigint NOT NULL,
	"latency" "bytea" NOT NULL,
	"confidence_sum" double precision NOT NULL,
	"confidence_count" bigint NOT NULL,
	"classes" jsonb NOT NULL,
	"body" jsonb,
	CONSTRAINT "rollups_level_device_id_model_version_started_at_pk" PRIMARY KEY("level","device_id","model","version","started_at")
);
--> statement-breakpoint
CREATE TABLE "telemetry_floors" (
	"device_id" text NOT NULL,
	"epoch" bigint NOT NULL,
	"sequence" bigint NOT NULL,
	CONSTRAINT "telemetry_floors_device_id_epoch_pk" PRIMARY KEY("device_id","epoch")
);
--> statement-breakpoint
CREATE TABLE "telemetry_marks" (
	"name" text PRIMARY KEY NOT NULL,
	"value" bigint NOT NULL
);
--> statement-breakpoint
ALTER TABLE "windows" ADD COLUMN "arrival" bigint DEFAULT 0 NOT NULL;--> statement-breakpoint
UPDATE "windows" SET "arrival" = "numbered"."number" FROM (SELECT "ctid" AS "place", row_number() OVER (ORDER BY "received_at", "device_id", "epoch", "sequence") AS "number" FROM "windows") "numbered" WHERE "windows"."ctid" = "numbered"."place";--> statement-breakpoint
ALTER TABLE "windows" ADD COLUMN "latency" "bytea";--> statement-breakpoint
ALTER TABLE "windows" ADD COLUMN "confidence_sum" double precision;--> statement-breakpoint
ALTER TABLE "windows" ADD COLUMN "confidence_count" bigint;--> statement-breakpoint
CREATE INDEX "rollups_time" ON "rollups" USING btree ("level","started_at");--> statement-breakpoint
CREATE INDEX "evaluations_time" ON "evaluations" USING btree ("window_end");--> statement-breakpoint
CREATE INDEX "labels_time" ON "labels" USING btree ("predicted_at");--> statement-breakpoint
CREATE INDEX "losses_time" ON "losses" USING btree ("received_at");--> statement-breakpoint
CREATE INDEX "run_logs_time" ON "run_logs" USING btree ("at");--> statement-breakpoint
CREATE INDEX "samples_time" ON "samples" USING btree ("predicted_at");--> statement-breakpoint
CREATE INDEX "windows_arrival" ON "windows" USING btree ("arrival");--> statement-breakpoint
INSERT INTO "telemetry_floors" SELECT "device_id", "epoch", max("sequence") FROM "telemetry_items" GROUP BY "device_id", "epoch";--> statement-breakpoint
DELETE FROM "telemetry_items";
