ALTER TABLE "desired_models" ADD COLUMN "beside" jsonb;--> statement-breakpoint
ALTER TABLE "rollout_devices" ADD COLUMN "later" jsonb;--> statement-breakpoint
ALTER TABLE "samples" ADD COLUMN "other" jsonb;