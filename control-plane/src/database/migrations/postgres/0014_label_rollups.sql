CREATE TABLE "label_rollups" (
	"level" bigint NOT NULL,
	"label" text NOT NULL,
	"value" text NOT NULL,
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
	"failures" jsonb NOT NULL,
	CONSTRAINT "label_rollups_level_label_started_at_value_model_version_pk" PRIMARY KEY("level","label","started_at","value","model","version")
);
--> statement-breakpoint
ALTER TABLE "rollups" ADD COLUMN "failures" jsonb;--> statement-breakpoint
CREATE INDEX "label_rollups_time" ON "label_rollups" USING btree ("level","started_at");--> statement-breakpoint
CREATE INDEX "rollups_fleet" ON "rollups" USING btree ("level","started_at","model","version") WHERE device_id = '';