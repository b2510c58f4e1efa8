// Starts Unleash's server on loopback with known tokens. Tests of Backout alone use it.
const { UNLEASH_FOLDER, UNLEASH_PORT, UNLEASH_DATABASE } = process.env;
const { start } = await import(
  `file://${UNLEASH_FOLDER}/node_modules/unleash-server/dist/lib/server-impl.js`
);
const token = (tokenName, secret) => ({
  environment: '*', project: '*', projects: ['*'], type: 'admin', tokenName, secret,
});
await start({
  databaseUrl: UNLEASH_DATABASE,
  db: { ssl: false },
  server: { port: Number(UNLEASH_PORT), host: '127.0.0.1', gracefulShutdownEnable: false },
  authentication: {
    type: 'open-source',
    initApiTokens: [
      token('backout', '*:*.backout-0123456789abcdef'),
      token('alice', '*:*.alice-0123456789abcdef'),
    ],
  },
  logLevel: 'error',
  versionCheck: { enable: false },
  telemetry: false,
});
console.log('ready');
