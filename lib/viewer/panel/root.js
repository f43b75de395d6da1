/** Path prefix of a reverse proxy before all paths of the server, such as "/lung"; mostly empty. */
export const ROOT = /^(.*)\/ohif\/lunglabel\//.exec(new URL(import.meta.url).pathname)?.[1] ?? '';
