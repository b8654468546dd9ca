// What all clients share: whom they ask, and how they tell what came of it.
const { ADDRESS, TOKEN } = process.env;

export const endpoint = new URL("/graphql", ADDRESS).href;
export const authorization = `Bearer ${TOKEN}`;

/** Runs steps one after the other and prints what each gave, as one object of JSON. */
export async function report(steps) {
  const found = {};
  for (const [name, step] of Object.entries(steps)) found[name] = await step();
  console.log(JSON.stringify(found));
}
