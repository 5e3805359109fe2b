// Owns one question of the official Node SDK's. Prints the answer, or the status and code of the refusal.
//
//   OPENAI_BASE_URL=... OPENAI_API_KEY=... node ask.mjs MODEL
import { createRequire } from "node:module";
import { join } from "node:path";

const { OpenAI } = createRequire(join(process.env.SDK_NODE, "package.json"))("openai");
const client = new OpenAI({ maxRetries: 0, timeout: 20_000 });
const [model] = process.argv.slice(2);
const messages = [{ role: "user", content: "Say something." }];
try {
  const models = await client.models.list();
  const whole = await client.chat.completions.create({ model, messages, max_tokens: 8 });
  let streamed = 0;
  for await (const chunk of await client.chat.completions.create({ model, messages, max_tokens: 8, stream: true })) {
    streamed += chunk.choices.length;
  }
  console.log(JSON.stringify({ models: models.data.length, whole: whole.choices.length, streamed }));
} catch (error) {
  console.log(JSON.stringify({ status: error.status, code: error.code }));
}
