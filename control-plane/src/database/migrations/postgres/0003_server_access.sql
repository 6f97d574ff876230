ALTER TABLE "devices" ADD COLUMN "readmitted_at" bigint;--> statement-breakpoint
ALTER TABLE "join_tokens" ADD COLUMN "uses" bigint;--> statement-breakpoint
ALTER TABLE "join_tokens" ADD COLUMN "revoked_at" bigint;--> statement-breakpoint
ALTER TABLE "notification_channels" ADD COLUMN "secret" text;--> statement-breakpoint
ALTER TABLE "notification_channels" ADD COLUMN "previous_secret" text;--> statement-breakpoint
ALTER TABLE "notification_channels" ADD COLUMN "previous_secret_until" bigint;--> statement-breakpoint
CREATE INDEX "devices_key" ON "devices" USING btree ("key_digest");--> statement-breakpoint
-- How many uses a token had at first stands in the audit log.
UPDATE "join_tokens" SET "uses" = (SELECT ("after"->>'uses')::bigint FROM "audit"
  WHERE "subject" = 'join-token/' || "join_tokens"."id" AND "action" = 'join-token.create');
