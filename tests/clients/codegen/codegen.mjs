// What GraphQL Code Generator makes of the schema as it is served: types, and ids of documents.
const { ADDRESS, TOKEN } = process.env;

export default {
  schema: { [`${ADDRESS}/graphql`]: { headers: { Authorization: `Bearer ${TOKEN}` } } },
  documents: ["codegen/main.ts"],
  silent: true,
  generates: {
    "generated/codegen/": {
      preset: "client",
      presetConfig: { persistedDocuments: { mode: "replaceDocumentWithHash" }, fragmentMasking: false },
      config: {
        documentMode: "string",
        useTypeImports: true,
        scalars: { BigInt: "number", DateTime: "string", Decimal: "number | string", Duration: "string", JSON: "unknown" },
      },
    },
  },
  emitLegacyCommonJSImports: false,
};
