# Two images from one build: `docker build --target agent .` and `docker build --target control-plane .`
# Not Node 24: compiled for 24.19 and later, better-sqlite3 12 ends the process when memory is collected.
FROM node:22-bookworm-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends python3 make g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /src
RUN npm install --global pnpm@12.21.0
COPY package.json pnpm-lock.yaml pnpm-workspace.yaml ./
COPY shared/package.json shared/
COPY agent/package.json agent/
COPY agent/bin agent/bin
COPY control-plane/package.json control-plane/
COPY control-plane/bin control-plane/bin
COPY test/package.json test/
RUN pnpm install --frozen-lockfile
COPY . .
RUN pnpm run build
RUN pnpm --filter @edgeloop/agent deploy --legacy --prod /out/agent \
 && pnpm --filter @edgeloop/control-plane deploy --legacy --prod /out/control-plane
# The libraries of other platforms, and what better-sqlite3 was compiled from, are two thirds of what was installed.
RUN node /out/agent/bin/edgeloop-agent.js trim /out/control-plane \
 && node /out/agent/bin/edgeloop-agent.js trim

FROM node:22-bookworm-slim AS runtime
ENV NODE_ENV=production ORT_DISABLE_TELEMETRY=1
RUN mkdir /data && chown node:node /data
VOLUME /data
USER node

FROM runtime AS agent
WORKDIR /app
COPY --from=build --chown=node:node /out/agent ./
ENV EDGELOOP_AGENT_DATA_DIR=/data EDGELOOP_AGENT_HOST=0.0.0.0
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + (process.env.EDGELOOP_AGENT_PORT || 8000) + '/healthz').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "bin/edgeloop-agent.js"]
CMD ["run"]

FROM runtime AS control-plane
WORKDIR /app
COPY --from=build --chown=node:node /out/control-plane ./
ENV EDGELOOP_DATA_DIR=/data EDGELOOP_HTTP_HOST=0.0.0.0
EXPOSE 7400 7443 8883
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + (process.env.EDGELOOP_HTTP_PORT || 7400) + '/healthz').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "bin/edgeloop.js"]
CMD ["server"]
