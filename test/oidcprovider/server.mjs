// A certified OpenID provider (npm oidc-provider) in which person-1 signs in and consents without being asked. It prints
// its issuer when it listens, and ends when its standard input does.
import { generateKeyPairSync } from 'node:crypto'
import { createServer } from 'node:http'
import { Provider } from 'oidc-provider'

const [redirectURI] = process.argv.slice(2)
const person = {
  sub: 'person-1', email: 'employee1@mycompany.com', email_verified: true, name: 'Emma Ployee', groups: ['staff', 'designers']
}
const key = (...args) => ({ ...generateKeyPairSync(...args).privateKey.export({ format: 'jwk' }), use: 'sig' })
const client = (id, more) => ({
  client_id: id, client_secret: 'secret-with-:/+%-inside', redirect_uris: [redirectURI], response_types: ['code'],
  grant_types: ['authorization_code', 'refresh_token'], ...more
})

const server = createServer()
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`
  const provider = new Provider(issuer, {
    clients: [
      client('thin'), // its ID tokens have no e-mail, as the specification prefers
      client('post', { token_endpoint_auth_method: 'client_secret_post', id_token_signed_response_alg: 'ES256' }),
    ],
    jwks: { keys: [key('rsa', { modulusLength: 2048 }), key('ec', { namedCurve: 'P-256' })] },
    clientAuthMethods: ['client_secret_basic', 'client_secret_post'],
    scopes: ['openid', 'email', 'profile', 'groups', 'offline_access'],
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'], groups: ['groups'] },
    conformIdTokenClaims: true,
    findAccount: async (ctx, sub) => ({ accountId: sub, claims: async () => ({ ...person, sub }) }),
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
    features: { devInteractions: { enabled: false }, revocation: { enabled: true } },
    rotateRefreshToken: true,
    cookies: { keys: ['for tests alone'] },
    ttl: { Interaction: 600, Session: 600, Grant: 600, AccessToken: 300, IdToken: 300, AuthorizationCode: 60, RefreshToken: 600 },
  })
  const answer = provider.callback()
  server.on('request', async (req, res) => {
    if (!req.url.startsWith('/interaction/')) return answer(req, res)
    const { prompt, params, session } = await provider.interactionDetails(req, res)
    if (prompt.name === 'login') return provider.interactionFinished(req, res, { login: { accountId: person.sub } })
    const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id })
    grant.addOIDCScope(params.scope)
    return provider.interactionFinished(req, res, { consent: { grantId: await grant.save() } }, { mergeWithLastSubmission: true })
  })
  console.log(`issuer ${issuer}`)
})
process.stdin.on('end', () => process.exit()).resume()
