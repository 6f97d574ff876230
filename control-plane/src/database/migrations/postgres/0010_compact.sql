CREATE TABLE "malformed" (
	"device_id" text NOT NULL,
	"slot" bigint NOT NULL,
	"number" bigint NOT NULL,
	"at" bigint NOT NULL,
	"channel" text NOT NULL,
	"reason" text NOT NULL,
	"bytes" bigint NOT NULL,
	"head" "bytea" NOT NULL,
	CONSTRAINT "malformed_device_id_slot_pk" PRIMARY KEY("device_id","slot")
);
--> statement-breakpoint
ALTER TABLE "rollups" ALTER COLUMN "classes" SET DATA TYPE bytea USING convert_to("classes"::text, 'UTF8');--> statement-breakpoint
ALTER TABLE "rollups" ALTER COLUMN "body" SET DATA TYPE bytea USING convert_to("body"::text, 'UTF8');--> statement-breakpoint
ALTER TABLE "windows" ALTER COLUMN "body" SET DATA TYPE bytea USING convert_to("body"::text, 'UTF8');--> statement-breakpoint
CREATE INDEX "malformed_time" ON "malformed" USING btree ("at");