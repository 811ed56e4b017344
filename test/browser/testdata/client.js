// An MCP client in a web page, written with fetch alone: discovery, registration, the authorization code grant with PKCE, and
// calls in both eras. What it finds it shows as JSON in the element #report.
const redirectURI = location.origin + '/';
const report = {};

function show() {
  document.body.innerHTML = '<pre id="report"></pre>';
  document.getElementById('report').textContent = JSON.stringify(report);
}

async function attempt(work) {
  try {
    await work();
  } catch (error) {
    report.failure = String(error);
    show();
  }
}

function base64url(bytes) {
  return btoa(String.fromCharCode(...bytes)).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');
}

async function json(url, options) {
  const response = await fetch(url, options);
  return { status: response.status, headers: response.headers, body: await response.json() };
}

function form(fields) {
  return { method: 'POST', body: new URLSearchParams(fields) };
}

async function connect() {
  const challenged = await json(settings.mcp, {
    method: 'POST', headers: { 'Content-Type': 'application/json', 'MCP-Protocol-Version': '2025-11-25' }, body: '{}',
  });
  report.unauthorized = challenged.status;
  report.challenge = challenged.headers.get('WWW-Authenticate') ?? '';
  report.unknown = (await json(new URL('/.well-known/oauth-protected-resource/other', settings.mcp))).status;
  const resource = (await json(challenged.body.resource_metadata, { headers: { 'MCP-Protocol-Version': '2025-11-25' } })).body;
  const issuer = resource.authorization_servers[0];
  const server = (await json(issuer + '/.well-known/oauth-authorization-server', { headers: { 'MCP-Protocol-Version': '2025-11-25' } })).body;
  const registration = await json(server.registration_endpoint, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ client_name: 'Page', redirect_uris: [redirectURI], token_endpoint_auth_method: 'none', grant_types: ['authorization_code', 'refresh_token'] }),
  });
  report.registered = registration.status;
  const verifier = base64url(crypto.getRandomValues(new Uint8Array(32)));
  const challenge = base64url(new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(verifier))));
  sessionStorage.setItem('kept', JSON.stringify({ report, verifier, client: registration.body.client_id, server, resource: resource.resource }));
  location.href = server.authorization_endpoint + '?' + new URLSearchParams({
    response_type: 'code', client_id: registration.body.client_id, redirect_uri: redirectURI, state: 'page', scope: resource.scopes_supported.join(' '),
    code_challenge: challenge, code_challenge_method: 'S256', resource: resource.resource,
  });
}

async function finish(code) {
  const { report: before, verifier, client, server, resource } = JSON.parse(sessionStorage.getItem('kept'));
  Object.assign(report, before);
  const grant = { grant_type: 'authorization_code', client_id: client, redirect_uri: redirectURI, code_verifier: verifier, resource };
  report.wrong = (await json(server.token_endpoint, form({ ...grant, code: 'wrong' }))).body.error;
  const token = (await json(server.token_endpoint, form({ ...grant, code }))).body;
  const refreshed = (await json(server.token_endpoint, form({ grant_type: 'refresh_token', client_id: client, refresh_token: token.refresh_token, resource }))).body;
  const authorized = {
    Authorization: 'Bearer ' + refreshed.access_token, 'Content-Type': 'application/json', Accept: 'application/json, text/event-stream',
  };
  const listed = await json(settings.mcp, {
    method: 'POST', headers: { ...authorized, 'MCP-Protocol-Version': '2025-11-25' }, body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list' }),
  });
  report.tools = listed.body.result.tools.map((tool) => tool.name);
  const modern = (name, args, meta) => ({
    method: 'POST',
    headers: { ...authorized, 'MCP-Protocol-Version': '2026-07-28', 'Mcp-Method': 'tools/call', 'Mcp-Name': name },
    body: JSON.stringify({ jsonrpc: '2.0', id: 2, method: 'tools/call', params: { name, arguments: args, _meta: {
      'io.modelcontextprotocol/protocolVersion': '2026-07-28', 'io.modelcontextprotocol/clientInfo': { name: 'page', version: '1' },
      'io.modelcontextprotocol/clientCapabilities': {}, ...meta,
    } } }),
  });
  report.answer = (await json(settings.mcp, modern('add', { a: 40, b: 2 }))).body.result.content[0].text;
  const stream = await (await fetch(settings.mcp, modern('generateImage', { prompt: 'a lighthouse', steps: 4 }, { progressToken: 'page' }))).text();
  report.progress = stream.split('notifications/progress').length - 1;
  show();
}

const code = new URLSearchParams(location.search).get('code');
if (code) attempt(() => finish(code));
else document.querySelector('button').onclick = () => attempt(connect);
