// Unpacks Chromium, and the libraries that a machine without a desktop lacks, into the directory TMPDIR.
// The package unpacks the libraries only where it believes to be on the service that it was made for.
process.env.AWS_EXECUTION_ENV = "AWS_Lambda_nodejs22.x";
const { default: chromium } = await import("@sparticuz/chromium");
console.log(await chromium.executablePath());
