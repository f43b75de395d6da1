/**
 * OpenID provider for tests and the fuzzer: node tools/support/oidc_provider.mjs PORT REDIRECT_URI...
 *
 * The account is the name that is typed, with the password "password of NAME" and the roles that the name says:
 * "ada-annotator" has monailabel-annotator. Client "lunglabel" gets JWT access tokens with Keycloak's layout of roles;
 * client "groups" gets opaque ones, and groups in UserInfo.
 */
import crypto from 'node:crypto';
import http from 'node:http';
import { register } from 'node:module';

// The provider is written for Node.js 22. Debian 12 has 18, which lacks URL.parse, crypto.hash, and the global crypto.
URL.parse ??= (url, base) => (URL.canParse(url, base) ? new URL(url, base) : null);
globalThis.crypto ??= crypto.webcrypto;
if (!crypto.hash) {
  const withHash = `data:text/javascript,${encodeURIComponent(`
    import crypto from 'node:crypto';
    export * from 'node:crypto';
    export default crypto;
    export const hash = (name, data, encoding = 'hex') => {
      const made = crypto.createHash(name).update(data);
      return encoding === 'buffer' ? made.digest() : made.digest(encoding);
    };`)}`;
  const hook = `export const resolve = (name, context, next) =>
    name === 'node:crypto' && context.parentURL?.includes('/oidc-provider/')
      ? { url: ${JSON.stringify(withHash)}, shortCircuit: true } : next(name, context);`;
  register(`data:text/javascript,${encodeURIComponent(hook)}`);
}
const { Provider, errors } = await import('oidc-provider');

const [port, ...redirectUris] = process.argv.slice(2);
const issuer = `http://localhost:${port}`;
const API = 'https://lunglabel.example/api';
const SCOPE = 'openid profile';
const changedRoles = new Map(); // by GET /roles?name=NAME&role=ROLE
const rolesOf = name => {
  const role = changedRoles.get(name) ?? (name.includes('-') ? `monailabel-${name.split('-').pop()}` : '');
  return role ? [role] : [];
};
const disabled = new Set(); // by GET /disabled?name=NAME
const findAccount = (_, id) =>
  disabled.has(id)
    ? undefined
    : { accountId: id, claims: () => ({ sub: id, preferred_username: id, groups: rolesOf(id) }) };
const client = id => ({
  client_id: id,
  client_secret: 'secret of the client',
  redirect_uris: redirectUris,
  post_logout_redirect_uris: redirectUris.map(uri => uri.replace('/login/oidc/callback', '/login')),
  grant_types: ['authorization_code', 'password', 'refresh_token'],
});

const provider = new Provider(issuer, {
  clients: [client('lunglabel'), client('groups')],
  cookies: { keys: ['a key for cookies'] },
  jwks: { keys: [await newKey()] },
  findAccount,
  claims: { openid: ['sub'], profile: ['preferred_username', 'groups'] },
  extraTokenClaims: (_, token) => ({
    typ: 'Bearer',
    azp: token.clientId,
    preferred_username: token.accountId,
    realm_access: { roles: ['offline_access', ...rolesOf(token.accountId)] },
  }),
  features: {
    devInteractions: { enabled: false },
    userinfo: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: ctx => (ctx.oidc.client.clientId === 'lunglabel' ? API : undefined),
      useGrantedResource: () => true,
      getResourceServerInfo: () => apiServer(),
    },
  },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  loadExistingGrant: ctx => grantAll(ctx.oidc.client.clientId, ctx.oidc.session.accountId),
  pkce: { required: () => true },
  issueRefreshToken: () => true,
  ttl: { AccessToken: 300, AuthorizationCode: 60, Grant: 600, IdToken: 300, Interaction: 600, RefreshToken: 600, Session: 600 },
});
provider.registerGrantType('password', passwordGrant, ['username', 'password', 'scope']);

async function newKey() {
  const { privateKey } = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid: crypto.randomUUID(), use: 'sig', alg: 'RS256' };
}

function apiServer() {
  return { scope: SCOPE, audience: API, accessTokenFormat: 'jwt', accessTokenTTL: 300 };
}

async function grantAll(clientId, accountId) {
  const grant = new provider.Grant({ clientId, accountId });
  grant.addOIDCScope(SCOPE);
  grant.addResourceScope(API, SCOPE);
  await grant.save();
  return grant;
}

/** RFC 6749, section 4.3. */
async function passwordGrant(ctx, next) {
  const { username, password } = ctx.oidc.params;
  if (password !== `password of ${username}`) throw new errors.InvalidGrant('wrong password');
  const grant = await grantAll(ctx.oidc.client.clientId, username);
  const token = new provider.AccessToken({
    accountId: username,
    client: ctx.oidc.client,
    grantId: grant.jti,
    gty: 'password',
    scope: SCOPE,
  });
  if (ctx.oidc.client.clientId === 'lunglabel') {
    token.resourceServer = new provider.ResourceServer(API, apiServer());
  }
  ctx.body = { access_token: await token.save(), expires_in: 300, token_type: 'Bearer', scope: SCOPE };
  await next?.();
}

async function interact(request, response) {
  const { uid } = await provider.interactionDetails(request, response);
  if (request.method === 'GET') {
    response.setHeader('Content-Type', 'text/html; charset=utf-8');
    response.end(`<!doctype html><title>Provider</title><form method="post" action="/interaction/${uid}">
      <input name="name" aria-label="Name"> <input name="password" type="password" aria-label="Password">
      <button name="do" value="login">Sign in</button> <button name="do" value="cancel">Cancel</button></form>`);
    return;
  }
  const form = new URLSearchParams(await bodyOf(request));
  const name = form.get('name') ?? '';
  const isRight = form.get('do') === 'login' && form.get('password') === `password of ${name}` && !disabled.has(name);
  const result = isRight ? { login: { accountId: name } } : { error: 'access_denied' };
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
}

async function bodyOf(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts).toString();
}

const callback = provider.callback();
http
  .createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url, issuer);
    if (pathname === '/roles') {
      changedRoles.set(searchParams.get('name'), searchParams.get('role'));
      response.end();
      return;
    }
    if (pathname === '/disabled') {
      disabled.add(searchParams.get('name'));
      response.end();
      return;
    }
    if (!pathname.startsWith('/interaction/')) {
      callback(request, response);
      return;
    }
    interact(request, response).catch(error => {
      response.statusCode = 400;
      response.end(String(error));
    });
  })
  .listen(Number(port), 'localhost');
