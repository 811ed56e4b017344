// An application built on the official TypeScript SDK: it connects to the server named by its second argument, signs in
// with the program BROWSER, and then answers lines of JSON on stdin: {"tools": true}, {"tool": name, "arguments": {}}, or
// {"spoil": true}, which makes its access token one that is refused.
// The first argument chooses the SDK: v1, v1-sse (its legacy transport), v2, or v2-auto (negotiating the newest protocol).
// With CLIENT_ID it acts for itself, and proves who it is with CLIENT_SECRET or with the private key CLIENT_KEY, a JWK.
// With CLIENT_METADATA_URL it is the client that this document describes. REMEMBERS is what it kept of an earlier time:
// {"client": {...}, "tokens": {...}}.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

const [flavour, address] = process.argv.slice(2);

async function sdk() {
  if (flavour.startsWith('v2')) {
    const sdk = await import('@modelcontextprotocol/client');
    const options = flavour === 'v2-auto' ? { versionNegotiation: { mode: 'auto' } } : {};
    return { ...sdk, Transport: sdk.StreamableHTTPClientTransport, options };
  }
  const { Client } = await import('@modelcontextprotocol/sdk/client/index.js');
  const { UnauthorizedError } = await import('@modelcontextprotocol/sdk/client/auth.js');
  const { StreamableHTTPClientTransport } = await import('@modelcontextprotocol/sdk/client/streamableHttp.js');
  const { SSEClientTransport } = await import('@modelcontextprotocol/sdk/client/sse.js');
  const Transport = flavour === 'v1-sse' ? SSEClientTransport : StreamableHTTPClientTransport;
  const machines = await import('@modelcontextprotocol/sdk/client/auth-extensions.js');
  return { Client, Transport, UnauthorizedError, ...machines, options: {} };
}

// The person's answer arrives at a loopback address, as for every desktop application.
const callback = createServer();
callback.listen(0, '127.0.0.1');
await once(callback, 'listening');
const redirectUrl = `http://127.0.0.1:${callback.address().port}/callback`;
const answered = new Promise((resolve) => {
  callback.on('request', (request, response) => {
    response.end('You may close this page.');
    resolve(new URL(request.url, redirectUrl).searchParams);
  });
});

const { Client, Transport, UnauthorizedError, ClientCredentialsProvider, PrivateKeyJwtProvider, options } = await sdk();

const kept = process.env.REMEMBERS ? JSON.parse(process.env.REMEMBERS) : {};
const person = {
  redirectUrl,
  clientMetadataUrl: process.env.CLIENT_METADATA_URL,
  clientMetadata: {
    client_name: 'TypeScript SDK journey',
    redirect_uris: [redirectUrl],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
  },
  state: () => 'state-of-the-journey',
  clientInformation: () => kept.client,
  saveClientInformation: (client) => { kept.client = client; },
  tokens: () => kept.tokens,
  saveTokens: (tokens) => { kept.tokens = tokens; },
  codeVerifier: () => kept.verifier,
  saveCodeVerifier: (verifier) => { kept.verifier = verifier; },
  invalidateCredentials: (scope) => {
    if (scope === 'all' || scope === 'client') delete kept.client;
    if (scope === 'all' || scope === 'tokens') delete kept.tokens;
  },
  discoveryState: () => kept.discovery,
  saveDiscoveryState: (discovery) => { kept.discovery = discovery; },
  redirectToAuthorization: (url) => { spawn(process.env.BROWSER, [url.href], { stdio: 'ignore' }); },
};

function machine() {
  const { CLIENT_ID: clientId, CLIENT_SECRET: clientSecret, CLIENT_KEY: key, ISSUER: expectedIssuer } = process.env;
  if (clientSecret) return new ClientCredentialsProvider({ clientId, clientSecret, expectedIssuer });
  return new PrivateKeyJwtProvider({ clientId, privateKey: JSON.parse(key), algorithm: 'ES256', expectedIssuer });
}

const authProvider = process.env.CLIENT_ID ? machine() : person;

async function connect() {
  const client = new Client({ name: 'TypeScript SDK journey', version: '1' }, options);
  const transport = new Transport(new URL(address), { authProvider });
  try {
    await client.connect(transport);
  } catch (error) {
    if (!(error instanceof UnauthorizedError)) throw error;
    const response = await answered;
    if (response.get('state') !== person.state()) throw new Error('the state came back changed');
    await transport.finishAuth(response.get('code'), response.get('iss') ?? undefined);
    return connect();
  }
  return client;
}

async function call(client, tool, args) {
  let progress = 0;
  try {
    const onprogress = () => { progress++; };
    const params = { name: tool, arguments: args };
    const result = flavour.startsWith('v2')
      ? await client.callTool(params, { onprogress })
      : await client.callTool(params, undefined, { onprogress });
    const text = result.content.filter((c) => c.type === 'text').map((c) => c.text).join('');
    return { text, images: result.content.filter((c) => c.type === 'image').length, progress, failed: result.isError ?? false };
  } catch (error) {
    if (typeof error.code !== 'number') throw error;
    return { refusal: error.message };
  }
}

const client = await connect();
console.log(JSON.stringify({ connected: true }));
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  let response = {};
  if (request.spoil) kept.tokens.access_token += 'x';
  else if (request.tools) response = { tools: (await client.listTools()).tools.map((tool) => tool.name) };
  else response = await call(client, request.tool, request.arguments);
  console.log(JSON.stringify(response));
}
await client.close();
callback.close();
process.exit(0);
