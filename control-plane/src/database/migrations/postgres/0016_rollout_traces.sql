ALTER TABLE "rollout_devices" ADD COLUMN "activation" jsonb;--> statement-breakpoint
ALTER TABLE "rollouts" ADD COLUMN "traceparent" text;--> statement-breakpoint
ALTER TABLE "rollouts" ADD COLUMN "traced_at" bigint;