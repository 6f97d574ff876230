CREATE TABLE "deliveries" (
	"channel_id" text NOT NULL,
	"group_key" text NOT NULL,
	"state" jsonb NOT NULL,
	CONSTRAINT "deliveries_channel_id_group_key_pk" PRIMARY KEY("channel_id","group_key")
);
--> statement-breakpoint
CREATE TABLE "silences" (
	"id" text PRIMARY KEY NOT NULL,
	"match" jsonb NOT NULL,
	"comment" text NOT NULL,
	"created_by" text NOT NULL,
	"created_at" bigint NOT NULL,
	"starts_at" bigint NOT NULL,
	"ends_at" bigint NOT NULL
);
--> statement-breakpoint
ALTER TABLE "alerts" ADD COLUMN "subject" text DEFAULT '' NOT NULL;--> statement-breakpoint
ALTER TABLE "notification_channels" ADD COLUMN "settings" jsonb;